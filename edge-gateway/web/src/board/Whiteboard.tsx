import "@excalidraw/excalidraw/index.css";
import "../styles/board.css";

import { Excalidraw, MainMenu } from "@excalidraw/excalidraw";
import type { ExcalidrawImperativeAPI, ExcalidrawProps } from "@excalidraw/excalidraw/types";
import {
  type ClipboardEvent,
  type DragEvent,
  memo,
  useEffect,
  useMemo,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";

import { type Theme, useTheme } from "../browser/theme";
import type { WireElement } from "../protocol/payloads";
import type { RoomSession } from "../room/session";
import { hasImage, NO_IMAGES } from "./arrival";
import { savePng, saveScene, saveSvg } from "./files";
import { BoardGuard, type Guarded } from "./guard";
import { addFile } from "./importing/add";
import { repairPasted } from "./importing/paste";
import { nameButtons } from "./names";
import { Others } from "./others";
import { reasons, sum } from "./reasons";
import { ExcalidrawScene } from "./scene";
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

function leftOut(count: number, reason: string): string {
  return count === 1
    ? `One element of this board cannot be shown: ${reason}.`
    : `${count} elements of this board cannot be shown. Of the first: ${reason}.`;
}

/** A pointer's message stays small: so many selected elements are named in it. */
const MOST_SELECTED = 20;

interface Props {
  session: RoomSession;
  name: string;
  isClosed: boolean;
}

/** The board of a room, opened anew where Excalidraw fails. */
export default memo(function Whiteboard(props: Props) {
  const { session } = props;
  return <BoardGuard session={session}>{(guarded) => <Board {...props} guarded={guarded} />}</BoardGuard>;
});

/** Excalidraw, kept in step by its session. Drawn anew only for what it shows itself. */
const Board = memo(function Board({ session, name, isClosed, guarded }: Props & { guarded: Guarded }) {
  const { code, userId } = session.state();
  const participants = useSyncExternalStore(session.subscribe, () => session.state().participants);
  const theme = useTheme();
  const [api, setApi] = useState<ExcalidrawImperativeAPI>();
  const root = useRef<HTMLDivElement>(null);
  const picker = useRef<HTMLInputElement>(null);
  const view = useMemo(() => loadView(code), [code]);
  const keeper = useMemo(() => new ViewKeeper(code), [code]);
  const selected = useRef<string[]>([]);
  const shownScene = useRef<ExcalidrawScene>(undefined);

  useEffect(() => {
    if (!api) return;
    const board = new ExcalidrawScene(api, {
      // For a board that nobody has looked at from here, all of it is the best view.
      isViewOpen: view === undefined,
      isBarred: guarded.isBarred,
      showing: guarded.showing,
      leftOut: (count, reason) => session.notify(leftOut(count, reason)),
    });
    let isReady = false;
    // Excalidraw makes a scene of its initial data some time after it has been mounted.
    const ready = () => {
      isReady = true;
      shownScene.current = board;
      session.board.attach(board);
    };
    const stop = api.onChange((elements, { selectedElementIds }) => {
      if (!isReady) return ready();
      selected.current = Object.keys(selectedElementIds).slice(0, MOST_SELECTED);
      const scene = elements as unknown as WireElement[];
      const stale = session.drawn(scene);
      if (stale.length > 0) board.mergeLater(stale);
      const withdrawn = board.withdrawn(scene);
      if (withdrawn.length > 0) session.remove(withdrawn);
      board.settle(scene);
    });
    if (!api.getAppState().isLoading) ready();
    return () => {
      stop();
      board.stop();
      shownScene.current = undefined;
      session.board.detach();
    };
  }, [api, guarded, session, view]);

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

  /** Saves the board as a file. A failure is told, and so is what the file lacks. */
  async function save(write: (of: ExcalidrawImperativeAPI, as: string, seen: Theme) => unknown) {
    if (!api) return;
    try {
      const remark = await write(api, name, theme);
      if (typeof remark === "string") session.notify(remark);
    } catch (error) {
      console.warn("the board cannot be saved", error);
      session.notify("The board could not be saved this way. Save it as .excalidraw, or make it smaller.");
    }
  }

  const add = (file: File) => addFile(file, () => shownScene.current, session);

  async function onDrop(event: DragEvent) {
    const files = [...event.dataTransfer.files];
    if (files.length === 0) return;
    // Excalidraw would replace the scene, for everybody.
    event.preventDefault();
    event.stopPropagation();
    if (isClosed) return;
    for (const file of files) await add(file);
  }

  function onPasteFile(event: ClipboardEvent) {
    if (!hasImage(event.clipboardData.files)) return;
    event.preventDefault();
    event.stopPropagation();
    session.notify(NO_IMAGES);
  }

  /** Elements that were copied from a board, from one of another place too, or from a file. */
  const onPaste: ExcalidrawProps["onPaste"] = async (data) => {
    if (!data.elements) return true;
    const pasted = await repairPasted(data.elements, data.programmaticAPI === true);
    const lost = sum(pasted.left);
    if (lost > 0) session.notify(`${lost} of ${lost + pasted.kept.length} could not be kept: ${reasons(pasted.left)}.`);
    data.elements = pasted.kept as typeof data.elements;
    data.programmaticAPI = false;
    return pasted.kept.length > 0;
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
          <MainMenu.Item onSelect={() => save(savePng)}>Save as PNG</MainMenu.Item>
          <MainMenu.Item onSelect={() => save(saveSvg)}>Save as SVG</MainMenu.Item>
          <MainMenu.Item onSelect={() => save((board, title) => saveScene(board, title, session.board))}>Save as .excalidraw</MainMenu.Item>
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
          if (file) void add(file);
          target.value = "";
        }}
      />
    </div>
  );
});
