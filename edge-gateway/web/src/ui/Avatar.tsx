import type { CSSProperties } from "react";

import { hueOf } from "./colours";

/** A person as a coloured initial; the name stands beside it or in its label. */
export function Avatar({ userId, username }: { userId: string; username: string }) {
  const initial = [...username.trim()][0]?.toUpperCase() ?? "?";
  const style = { "--hue": hueOf(userId) } as CSSProperties;
  return <span className="avatar" style={style} data-initial={initial} aria-hidden="true" />;
}
