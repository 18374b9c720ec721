// @ts-check
// Puts a button behind each password that shows what was typed, and hides it again when it is sent.

for (const input of document.querySelectorAll("input[type=password]")) {
  if (input instanceof HTMLInputElement) addButton(input);
}

/** @param {HTMLInputElement} input */
function addButton(input) {
  const name = (input.labels?.[0]?.textContent ?? "password").toLowerCase();
  const button = document.createElement("button");
  button.type = "button";
  button.className = "reveal";
  button.setAttribute("aria-controls", input.id);

  /** @param {boolean} shown */
  function show(shown) {
    input.type = shown ? "text" : "password";
    button.textContent = `${shown ? "Hide" : "Show"} ${name}`;
  }

  show(false);
  button.addEventListener("click", () => show(input.type === "password"));
  input.form?.addEventListener("submit", () => show(false));
  input.after(button);
}
