# Part of the template: you need not edit this file.
"""Translations: Tornado's, from gettext catalogues in `locale/` where there are any."""

from pathlib import Path

from tornado.locale import load_gettext_translations, set_default_locale

# Marks a text for extraction; the text is translated where it is shown.
N_ = str


def load_translations(folder: Path, language: str) -> None:
    """Load `LANGUAGE/LC_MESSAGES/messages.mo` of this folder; `language` is that of the code.

    Tornado then chooses by `get_user_locale` or Accept-Language.
    """
    # Without it a browser that prefers English, then German, gets German once that has a catalogue.
    set_default_locale(language)
    if folder.is_dir():
        load_gettext_translations(str(folder), "messages")
