import { type ReactNode, useEffect, useState } from "react";

import { copy } from "../browser/files";
import { Icon, type IconName } from "./Icon";

/** Copies a text with one click and says so. */
export function CopyButton({
  text,
  label,
  icon = "copy",
  className = "quiet",
  children,
}: {
  text: string;
  label: string;
  icon?: IconName;
  className?: string;
  children?: ReactNode;
}) {
  const [said, setSaid] = useState("");
  useEffect(() => {
    if (!said) return;
    const timer = setTimeout(() => setSaid(""), 2000);
    return () => clearTimeout(timer);
  }, [said]);
  return (
    <>
      <button
        type="button"
        className={`button ${className}`}
        aria-label={label}
        title={label}
        onClick={async () => setSaid((await copy(text)) ? "Copied" : "Could not be copied")}
      >
        {children}
        <Icon name={said === "Copied" ? "check" : icon} />
      </button>
      <span className="visually-hidden" role="status">{said}</span>
    </>
  );
}
