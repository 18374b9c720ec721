#% set name = cookiecutter.project_name
#% set description = cookiecutter.description
#% set name_quote = "'" if name.count('"') > name.count("'") else '"'
#% set description_quote = "'" if description.count('"') > description.count("'") else '"'
"""The service's name and description, defined once and shown on its pages."""

NAME = << name_quote >><< name | replace("\\", "\\\\") | replace(name_quote, "\\" ~ name_quote) >><< name_quote >>
DESCRIPTION = << description_quote >><< description | replace("\\", "\\\\") | replace(description_quote, "\\" ~ description_quote) >><< description_quote >>
COMMAND = "<< cookiecutter.project_slug >>"
