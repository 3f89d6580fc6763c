import "@excalidraw/excalidraw/index.css";
import "../styles/board.css";

import {
  CaptureUpdateAction,
  Excalidraw,
  exportToBlob,
  exportToSvg,
  loadFromBlob,
  MainMenu,
  reconcileElements,
  restoreElements,
  serializeAsJSON,
} from "@excalidraw/excalidraw";
import type { OrderedExcalidrawElement } from "@excalidraw/excalidraw/element/types";
import type { RemoteExcalidrawElement } from "@excalidraw/excalidraw/data/reconcile";
import type { ExcalidrawImperativeAPI, ExcalidrawProps } from "@excalidraw/excalidraw/types";
import {
  type ClipboardEvent,
  type DragEvent,
  useEffect,
  useMemo,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";

import { download, fileName } from "../browser/files";
import { useTheme } from "../browser/theme";
import type { WireElement } from "../protocol/payloads";
import type { RoomSession } from "../room/session";
import { hasImage, keepable, NO_IMAGES } from "./arrival";
import { nameButtons } from "./names";
import { Others } from "./others";
import { loadView, ViewKeeper } from "./view";

const UI_OPTIONS = {
  canvasActions: {
    changeViewBackgroundColor: false,
    clearCanvas: false,
    export: false,
    loadScene: false,
    saveToActiveFile: false,
    toggleTheme: false,
    saveAsImage: false,
  },
  tools: { image: false },
} as const;

/** A pointer's message stays small: so many selected elements are named in it. */
const MOST_SELECTED = 20;

/** The board of a room: Excalidraw, kept in step by its session. */
export default function Whiteboard({
  session,
  name,
  isClosed,
}: {
  session: RoomSession;
  name: string;
  isClosed: boolean;
}) {
  const { code, userId, participants } = useSyncExternalStore(session.subscribe, session.state);
  const theme = useTheme();
  const [api, setApi] = useState<ExcalidrawImperativeAPI>();
  const root = useRef<HTMLDivElement>(null);
  const picker = useRef<HTMLInputElement>(null);
  const view = useMemo(() => loadView(code), [code]);
  const keeper = useMemo(() => new ViewKeeper(code), [code]);
  const selected = useRef<string[]>([]);

  useEffect(() => {
    if (!api) return;
    // For a board that nobody has looked at from here, all of it is the best view.
    const board = new ExcalidrawScene(api, view === undefined);
    let isReady = false;
    // Excalidraw makes a scene of its initial data some time after it has been mounted.
    const ready = () => {
      isReady = true;
      session.board.attach(board);
    };
    const stop = api.onChange((elements, { selectedElementIds }) => {
      if (!isReady) return ready();
      selected.current = Object.keys(selectedElementIds).slice(0, MOST_SELECTED);
      const stale = session.drawn(elements as unknown as WireElement[]);
      if (stale.length > 0) board.mergeSoon(stale);
    });
    if (!api.getAppState().isLoading) ready();
    return () => {
      stop();
      board.stop();
      session.board.detach();
    };
  }, [api, session, view]);

  useEffect(() => () => keeper.flush(), [keeper]);

  useEffect(() => (root.current ? nameButtons(root.current) : undefined), []);

  const others = useMemo(() => api && new Others(api), [api]);

  useEffect(() => () => others?.stop(), [others]);

  useEffect(() => {
    others?.here(participants.filter((one) => one.userId !== userId));
  }, [others, participants, userId]);

  useEffect(() => {
    if (!others) return;
    return session.onPointer((pointer) => {
      // Our own other tab is not somebody else.
      if (pointer.userId !== userId) others.points(pointer);
    });
  }, [others, session, userId]);

  async function exportPng() {
    if (!api) return;
    const blob = await exportToBlob({ ...exported(api, theme === "dark"), mimeType: "image/png", exportPadding: 24 });
    download(fileName(name, "png"), blob);
  }

  async function exportSvg() {
    if (!api) return;
    const svg = await exportToSvg({ ...exported(api, theme === "dark"), exportPadding: 24 });
    download(fileName(name, "svg"), svg.outerHTML, "image/svg+xml");
  }

  function exportScene() {
    if (!api) return;
    const text = serializeAsJSON(api.getSceneElements(), api.getAppState(), {}, "local");
    download(fileName(name, "excalidraw"), text, "application/json");
  }

  async function importFile(file: File) {
    if (!api) return;
    try {
      const scene = await loadFromBlob(file, null, null);
      const { kept, hasImages } = keepable(scene.elements);
      const count = importElements(api, kept);
      if (count > 0) api.scrollToContent(undefined, { animate: true });
      const added = count > 0 ? `Added what ${file.name} holds to the board.` : `${file.name} holds nothing new.`;
      session.notify(hasImages ? `${added} ${NO_IMAGES}` : added);
    } catch {
      session.notify(hasImage([file]) ? NO_IMAGES : `${file.name} is not an Excalidraw drawing.`);
    }
  }

  async function onDrop(event: DragEvent) {
    const files = [...event.dataTransfer.files];
    if (files.length === 0) return;
    // Excalidraw would replace the scene, for everybody.
    event.preventDefault();
    event.stopPropagation();
    if (isClosed) return;
    for (const file of files) await importFile(file);
  }

  function onPasteFile(event: ClipboardEvent) {
    if (!hasImage(event.clipboardData.files)) return;
    event.preventDefault();
    event.stopPropagation();
    session.notify(NO_IMAGES);
  }

  /** Elements that were copied from a board, from one of another place too. */
  const onPaste: ExcalidrawProps["onPaste"] = (data) => {
    if (data.elements) {
      const { kept, hasImages } = keepable(data.elements);
      data.elements = kept;
      if (hasImages) session.notify(NO_IMAGES);
    }
    return true;
  };

  return (
    <div className="board" ref={root} onDropCapture={onDrop} onPasteCapture={onPasteFile}>
      <Excalidraw
        excalidrawAPI={setApi}
        initialData={{ appState: { ...view, name } }}
        isCollaborating
        langCode="en"
        name={name}
        theme={theme}
        viewModeEnabled={isClosed}
        UIOptions={UI_OPTIONS}
        aiEnabled={false}
        validateEmbeddable={false}
        onPointerUpdate={({ pointer, button }) =>
          session.point({
            x: Math.round(pointer.x * 10) / 10,
            y: Math.round(pointer.y * 10) / 10,
            tool: pointer.tool,
            button,
            selected: selected.current,
          })}
        onPaste={onPaste}
        onScrollChange={(scrollX, scrollY, zoom) => keeper.keep({ scrollX, scrollY, zoom })}
      >
        <MainMenu>
          <MainMenu.Item onSelect={exportPng}>Save as PNG</MainMenu.Item>
          <MainMenu.Item onSelect={exportSvg}>Save as SVG</MainMenu.Item>
          <MainMenu.Item onSelect={exportScene}>Save as .excalidraw</MainMenu.Item>
          <MainMenu.Item onSelect={() => picker.current?.click()}>Add an .excalidraw file…</MainMenu.Item>
          <MainMenu.Separator />
          <MainMenu.DefaultItems.SearchMenu />
          <MainMenu.DefaultItems.Help />
        </MainMenu>
      </Excalidraw>
      <input
        ref={picker}
        type="file"
        accept=".excalidraw,.json,application/json"
        aria-label="Add an .excalidraw file"
        hidden
        onChange={({ target }) => {
          const [file] = target.files ?? [];
          if (file) void importFile(file);
          target.value = "";
        }}
      />
    </div>
  );
}

function exported(api: ExcalidrawImperativeAPI, isDark: boolean) {
  return {
    elements: api.getSceneElements(),
    appState: { ...api.getAppState(), exportBackground: true, exportWithDarkMode: isDark },
    files: api.getFiles(),
  };
}

/** Adds elements to the board for everybody; what is on it stays, by the rule of merging. */
function importElements(api: ExcalidrawImperativeAPI, imported: readonly OrderedExcalidrawElement[]): number {
  const local = api.getSceneElementsIncludingDeleted() as readonly OrderedExcalidrawElement[];
  const known = new Map(local.map((element) => [element.id, element]));
  const added = imported
    .filter(({ isDeleted }) => !isDeleted)
    .map((element) => {
      const mine = known.get(element.id);
      // What was deleted here comes back: that is what adding the file asks for.
      return mine?.isDeleted ? { ...element, version: mine.version + 1 } : element;
    });
  const elements = reconcileElements(local, added as RemoteExcalidrawElement[], api.getAppState());
  api.updateScene({ elements, captureUpdate: CaptureUpdateAction.IMMEDIATELY });
  return added.filter((element) => known.get(element.id)?.version !== element.version).length;
}

/** Excalidraw's scene, as the board's state sees it. */
class ExcalidrawScene {
  readonly #api: ExcalidrawImperativeAPI;
  /** Whether the view is still to be chosen by what there is to see. */
  #isViewOpen: boolean;
  readonly #waiting = new Map<string, WireElement>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(api: ExcalidrawImperativeAPI, isViewOpen: boolean) {
    this.#api = api;
    this.#isViewOpen = isViewOpen;
  }

  merge(elements: readonly WireElement[]): void {
    const local = this.#local();
    this.#show(reconcileElements(local, this.#complete(elements, local), this.#api.getAppState()));
  }

  replace(elements: readonly WireElement[]): void {
    const isEmpty = this.#api.getSceneElements().length === 0;
    this.#show(reconcileElements([], this.#complete(elements, []), this.#api.getAppState()));
    if (!this.#isViewOpen || elements.length === 0) return;
    this.#isViewOpen = false;
    // Who has begun to draw has chosen a view.
    if (isEmpty) this.#api.scrollToContent(undefined, { fitToContent: true, maxZoom: 1, animate: false });
  }

  /** For what cannot be shown now, since somebody here is editing it. */
  mergeSoon(elements: readonly WireElement[]): void {
    for (const element of elements) this.#waiting.set(element.id, element);
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      const waiting = [...this.#waiting.values()];
      this.#waiting.clear();
      this.merge(waiting);
    }, 250);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  /** Others' changes are not ours to undo. */
  #show(elements: readonly OrderedExcalidrawElement[]): void {
    this.#api.updateScene({ elements, captureUpdate: CaptureUpdateAction.NEVER });
  }

  #local(): readonly OrderedExcalidrawElement[] {
    return this.#api.getSceneElementsIncludingDeleted() as readonly OrderedExcalidrawElement[];
  }

  /** Fills in what elements leave out; a tombstone takes all but its marks from ours. */
  #complete(
    elements: readonly WireElement[],
    local: readonly OrderedExcalidrawElement[],
  ): RemoteExcalidrawElement[] {
    const mine = new Map(local.map((element) => [element.id, element]));
    const living = elements.filter(({ isDeleted }) => !isDeleted);
    const deleted = elements.flatMap(({ id, isDeleted, version, versionNonce }) => {
      const element = mine.get(id);
      return isDeleted && element ? [{ ...element, version, versionNonce, isDeleted }] : [];
    });
    // In the order of their indices; in another, Excalidraw would number them anew, and that
    // counts as a change.
    living.sort(byIndex);
    return [...restored(living), ...deleted] as RemoteExcalidrawElement[];
  }
}

/** Elements as Excalidraw needs them; one that it cannot make anything of is left out. */
function restored(elements: readonly WireElement[]): OrderedExcalidrawElement[] {
  const complete = elements.map((element) => ({
    ...LEAST,
    ...(element.type === "text" && LEAST_TEXT),
    ...element,
  })) as unknown as OrderedExcalidrawElement[];
  try {
    return restoreElements(complete, null);
  } catch {
    return complete.flatMap((element) => {
      try {
        return restoreElements([element], null);
      } catch (error) {
        console.warn(`the element ${element.id} cannot be shown`, error);
        return [];
      }
    });
  }
}

/** What an element has at least; the server asks for less. */
const LEAST = { x: 0, y: 0, width: 0, height: 0, angle: 0, groupIds: [], boundElements: null };
const LEAST_TEXT = { text: "", fontSize: 20, fontFamily: 5 };

function byIndex(a: WireElement, b: WireElement): number {
  const [one, other] = [a["index"], b["index"]];
  if (typeof one !== "string" || typeof other !== "string") {
    return Number(typeof one !== "string") - Number(typeof other !== "string");
  }
  if (one !== other) return one < other ? -1 : 1;
  return a.id < b.id ? -1 : 1;
}
