/** Stands for the converter of Mermaid diagrams: text of that kind is pasted as text. */
export function parseMermaidToExcalidraw(): Promise<never> {
  return Promise.reject(new Error("this board does not draw Mermaid diagrams"));
}
