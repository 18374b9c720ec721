// @ts-check
// Adds a button after each password that shows the input, and hides it before the form is sent.

for (const input of document.querySelectorAll("input[type=password]")) {
  if (input instanceof HTMLInputElement) addButton(input);
}

/** @param {HTMLInputElement} input */
function addButton(input) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "reveal";
  button.setAttribute("aria-controls", input.id);

  /** @param {boolean} shown */
  function show(shown) {
    input.type = shown ? "text" : "password";
    button.textContent = (shown ? input.dataset.hide : input.dataset.show) ?? "";
  }

  show(false);
  button.addEventListener("click", () => show(input.type === "password"));
  input.form?.addEventListener("submit", () => show(false));
  input.after(button);
}
