/** Where Excalidraw fails: which element made it fail, the board without it, and ways to go on. */

import { Component, Fragment, type ReactNode } from "react";

import { download, fileName } from "../browser/files";
import type { WireElement } from "../protocol/payloads";
import type { RoomSession } from "../room/session";
import { undrawable } from "./trial";

/** So often a visit leaves out what made the board fail; afterwards it asks the person. */
const MOST_FAILURES = 5;

/** What a guarded board tells and asks. */
export interface Guarded {
  isBarred(element: WireElement): boolean;
  showing(news: readonly WireElement[]): void;
}

interface Props {
  session: RoomSession;
  children: (guarded: Guarded) => ReactNode;
}

interface State {
  phase: "open" | "searching" | "failed";
  /** Each opening is a board of its own. */
  opening: number;
}

/**
 * Keeps the board open. An element that made Excalidraw fail is barred for the rest of the
 * visit, whatever its later versions are: a board that comes and goes cannot be drawn on.
 */
export class BoardGuard extends Component<Props, State> {
  override state: State = { phase: "open", opening: 0 };
  readonly #barred = new Set<string>();
  #lastShown: readonly WireElement[] = [];
  #failures = 0;
  #isGone = false;

  readonly #guarded: Guarded = {
    isBarred: ({ id }) => this.#barred.has(id),
    showing: (news) => {
      if (news.length > 0) this.#lastShown = news;
    },
  };

  static getDerivedStateFromError(): Partial<State> {
    return { phase: "searching" };
  }

  override componentDidCatch(): void {
    void this.#recover();
  }

  override componentDidMount(): void {
    this.#isGone = false;
  }

  override componentWillUnmount(): void {
    this.#isGone = true;
  }

  override render(): ReactNode {
    const { phase, opening } = this.state;
    if (phase === "open") return <Fragment key={opening}>{this.props.children(this.#guarded)}</Fragment>;
    if (phase === "searching") return <p className="muted empty" role="status">Opening the board…</p>;
    return this.#waysOn();
  }

  #waysOn(): ReactNode {
    const suspects = this.#suspects();
    const one = suspects.length === 1;
    return (
      <div className="fallen" role="alert">
        <p>The board could not be opened. What you made is kept.</p>
        <div className="actions">
          {suspects.length > 0 && (
            <button type="button" className="button primary" onClick={() => this.#openWithout(suspects)}>
              Open without the last change
            </button>
          )}
          <button type="button" className="button" onClick={() => this.#save()}>Save what is there as a file</button>
          {suspects.length > 0 && (
            <button type="button" className="button" onClick={() => this.#delete(suspects)}>
              {one ? "Delete the element for everybody" : `Delete these ${suspects.length} elements for everybody`}
            </button>
          )}
          <button type="button" className="button" onClick={() => location.reload()}>Reload the page</button>
        </div>
      </div>
    );
  }

  /** Opens the board without what made it fail, where that is found. */
  async #recover(): Promise<void> {
    this.#failures += 1;
    const culprits = this.#failures > MOST_FAILURES ? [] : await this.#culprits();
    if (this.#isGone) return;
    if (culprits.length === 0) return this.setState({ phase: "failed" });
    this.props.session.notify(culprits.length === 1
      ? "One element of this board made it fail and is left out."
      : `${culprits.length} elements of this board made it fail and are left out.`);
    this.#openWithout(culprits);
  }

  async #culprits(): Promise<readonly WireElement[]> {
    const elements = this.#open();
    const last = this.#lastShown;
    if (last.length >= elements.length) return undrawable(elements);
    const found = await undrawable(last);
    // Where each can be drawn by itself, the last change made the difference as a whole.
    return found.length > 0 ? found : last;
  }

  #openWithout(elements: readonly WireElement[]): void {
    for (const { id } of elements) this.#barred.add(id);
    this.#lastShown = [];
    this.setState(({ opening }) => ({ phase: "open", opening: opening + 1 }));
  }

  #delete(elements: readonly WireElement[]): void {
    this.props.session.remove(elements.map(({ id }) => id));
    this.#openWithout(elements);
  }

  #save(): void {
    const { board, state } = this.props.session;
    const scene = { type: "excalidraw", version: 2, source: location.origin, elements: board.all(), appState: {}, files: {} };
    const { room, code } = state();
    download(fileName(room?.name ?? code, "excalidraw"), JSON.stringify(scene, null, 2), "application/json");
  }

  /** What may be left out next: the last change, or the newest element where the board failed as it was opened. */
  #suspects(): readonly WireElement[] {
    const elements = this.#open();
    const open = new Set(elements.map(({ id }) => id));
    const last = this.#lastShown.filter(({ id }) => open.has(id));
    if (last.length > 0 && last.length < elements.length) return last;
    const age = ({ updated }: WireElement) => (typeof updated === "number" ? updated : 0);
    const [first, ...others] = elements;
    return first ? [others.reduce((newest, element) => (age(element) >= age(newest) ? element : newest), first)] : [];
  }

  /** What is not left out yet. */
  #open(): WireElement[] {
    return this.props.session.board.all().filter(({ id }) => !this.#barred.has(id));
  }
}
