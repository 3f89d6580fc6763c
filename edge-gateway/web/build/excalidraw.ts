import { createReadStream, existsSync, readFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

import type { Plugin } from "vite";

const dist = dirname(createRequire(import.meta.url).resolve("@excalidraw/excalidraw"));
const { version } = JSON.parse(readFileSync(join(dist, "../../package.json"), "utf8")) as { version: string };

/** 13 MB of Chinese, Japanese and Korean glyphs: the fonts of the reader's system serve. */
const LEFT_OUT = "Xiaolai";

/** All languages but English, in which this client is written. */
const OTHER_LOCALE = /^\.\/locales\/(?!en-)/;
const NO_LOCALE = "\0excalidraw-no-locale";

/** What cuts fonts down to the glyphs in use: 1.8 MB, and it evaluates strings, which no policy of ours allows. */
const SUBSETTING = /^\.\/subset-(?:shared|worker)\.chunk\.js$/;
const WHOLE_FONTS = fileURLToPath(new URL("./whole-fonts.ts", import.meta.url));

/** The action of the context menu that adds to a library. A board has none, so the menu leaves the action out. */
const ADD_TO_LIBRARY = '{name:"addToLibrary",';

/** Where `public/boot.js` tells Excalidraw to look; kept for ever by browsers, so it names the version. */
const BASE = `excalidraw/${version}/`;

/**
 * Serves Excalidraw's fonts from our own origin, and takes the foreign host out of its code.
 *
 * Each font names a fallback elsewhere, which a strict policy blocks and the browser then
 * reports. An upgrade that spells this differently fails the build, so that it is noticed.
 */
export function excalidraw(): Plugin {
  let seen = 0;
  let libraries = 0;
  return {
    name: "excalidraw",
    enforce: "pre",

    async buildStart() {
      const boot = await readFile(new URL("../public/boot.js", import.meta.url), "utf8");
      if (!boot.includes(`"/${BASE}"`)) throw new Error(`public/boot.js does not name /${BASE}`);
    },

    resolveId(source, importer) {
      if (!importer?.includes("@excalidraw/excalidraw/")) return null;
      if (SUBSETTING.test(source)) return WHOLE_FONTS;
      return OTHER_LOCALE.test(source) ? NO_LOCALE : null;
    },

    load(id) {
      return id === NO_LOCALE ? "export default {};" : null;
    },

    transform(code, id) {
      if (!id.includes("@excalidraw/excalidraw/dist/prod/")) return null;
      if (code.includes(ADD_TO_LIBRARY)) {
        libraries += 1;
        return { code: code.replace(ADD_TO_LIBRARY, `${ADD_TO_LIBRARY}predicate:()=>!1,`), map: null };
      }
      if (!code.includes("ASSETS_FALLBACK_URL")) return null;
      seen += 1;
      const family = new RegExp(`([\\w$]+)="${LEFT_OUT}"`).exec(code)?.[1];
      if (!family) throw new Error(`Excalidraw does not name the font ${LEFT_OUT}`);
      const edits: [RegExp, string][] = [
        [/([\w$]+)\.push\(new URL\([\w$]+,[\w$]+\.ASSETS_FALLBACK_URL\)\)/, "$1"],
        [/`https:\/\/esm\.sh\/\$\{[^`]*`[^`]*`[^`]*`/, '""'],
        [new RegExp(`([\\w$]+\\(${escaped(family)}),\\.\\.\\.[\\w$]+\\)`), "$1)"],
        [/typeof Worker<"u"/, "!1"],
      ];
      return { code: edits.reduce((edited, [pattern, by]) => replaceOnce(edited, pattern, by), code), map: null };
    },

    async generateBundle() {
      if (seen !== 1) throw new Error(`Excalidraw names its fonts' fallback in ${seen} files, not in one`);
      if (libraries !== 1) throw new Error(`Excalidraw adds to a library in ${libraries} files, not in one`);
      for (const family of await readdir(join(dist, "fonts"))) {
        if (family === LEFT_OUT) continue;
        for (const file of await readdir(join(dist, "fonts", family))) {
          this.emitFile({
            type: "asset",
            fileName: `${BASE}fonts/${family}/${file}`,
            source: await readFile(join(dist, "fonts", family, file)),
          });
        }
      }
    },

    configureServer(server) {
      server.middlewares.use(`/${BASE}fonts/`, (request, response, next) => {
        const path = join(dist, "fonts", normalize(`/${(request.url ?? "").split("?")[0]}`));
        if (!existsSync(path)) return next();
        createReadStream(path).pipe(response);
      });
    },
  };
}

function replaceOnce(code: string, pattern: RegExp, replacement: string): string {
  const matches = code.match(new RegExp(pattern, "g"))?.length ?? 0;
  if (matches !== 1) throw new Error(`${matches} places in Excalidraw match ${pattern}, not one`);
  return code.replace(pattern, replacement);
}

function escaped(text: string): string {
  return text.replace(/\$/g, "\\$");
}
