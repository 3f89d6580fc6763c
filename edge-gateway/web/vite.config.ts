import { fileURLToPath } from "node:url";

import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

import { excalidraw } from "./build/excalidraw.ts";
import { precompress } from "./build/precompress.ts";

/** The gateway that the dev server stands before. */
const gateway = process.env["GATEWAY_URL"] ?? "http://127.0.0.1:4000";

// The Host header stays as the browser sent it, so that the gateway sees its own origin.
const proxy = {
  "/api": { target: gateway },
  "/socket.io": { target: gateway, ws: true },
};

export default defineConfig({
  plugins: [react(), excalidraw(), precompress()],
  resolve: {
    alias: {
      // Draws diagrams from text and weighs more than all the rest; the board does without.
      "@excalidraw/mermaid-to-excalidraw": fileURLToPath(new URL("./build/no-mermaid.ts", import.meta.url)),
    },
  },
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 2500,
    modulePreload: { polyfill: false },
  },
  server: { proxy },
  preview: { proxy },
  test: { include: ["src/**/*.test.ts"] },
});
