const PATHS = {
  back: "M15 5l-7 7 7 7",
  copy: "M9 9h10v11H9z M5 15V4h10",
  check: "M5 13l4 4L19 7",
  link: "M10 14a4 4 0 0 0 5.7 0l3-3a4 4 0 0 0-5.7-5.7l-1 1 M14 10a4 4 0 0 0-5.7 0l-3 3a4 4 0 0 0 5.7 5.7l1-1",
  more: "M5 11.5h.01v1h-.01z M12 11.5h.01v1h-.01z M19 11.5h.01v1h-.01z",
  send: "M4 12l16-8-6 16-3-7z",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8z M12 2v2 M12 20v2 M4.9 4.9l1.4 1.4 M17.7 17.7l1.4 1.4 M2 12h2 M20 12h2 M4.9 19.1l1.4-1.4 M17.7 6.3l1.4-1.4",
  moon: "M20 14.5A8 8 0 0 1 9.5 4a8 8 0 1 0 10.5 10.5z",
  people: "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7z M2.5 20a6.5 6.5 0 0 1 13 0 M16 4.3a3.5 3.5 0 0 1 0 6.4 M18 14.5a6.5 6.5 0 0 1 3.5 5.5",
  board: "M4 5h16v11H4z M8 21l2-5 M16 21l-2-5",
  chat: "M4 5h16v11H11l-5 4v-4H4z",
  close: "M6 6l12 12 M18 6L6 18",
  down: "M12 5v14 M6 13l6 6 6-6",
  plus: "M12 5v14 M5 12h14",
  enter: "M13 5h6v14h-6 M4 12h10 M10 8l4 4-4 4",
} as const;

export type IconName = keyof typeof PATHS;

/** A picture beside words; what it means is said by the words or by a label. */
export function Icon({ name, size = 18 }: { name: IconName; size?: number }) {
  return (
    <svg className="icon" width={size} height={size} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
