/** Names for what Excalidraw draws without one, or with one that does not say what is seen. */

/** Names the buttons below an element now and whenever they change; answers how to stop. */
export function nameButtons(board: HTMLElement): () => void {
  const name = () => {
    for (const button of board.querySelectorAll(".main-menu-trigger")) label(button, "Board menu");
    for (const button of board.querySelectorAll(".reset-zoom-button")) {
      label(button, `${button.textContent ?? ""} · Reset zoom`);
    }
  };
  name();
  const observer = new MutationObserver(name);
  observer.observe(board, { childList: true, characterData: true, subtree: true });
  return () => observer.disconnect();
}

function label(button: Element, text: string): void {
  if (button.getAttribute("aria-label") === text) return;
  button.setAttribute("aria-label", text);
  button.setAttribute("title", text);
}
