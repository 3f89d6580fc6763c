import { type ReactNode, useState } from "react";

import { cleanName, username } from "../browser/identity";
import { Limits } from "../protocol/payloads";
import { Dialog } from "./Dialog";

/** Asks for the name that others see. */
export function NameDialog({
  title,
  action,
  onDone,
  onClose,
  children,
}: {
  title: string;
  action: string;
  onDone?: () => void;
  onClose?: () => void;
  children?: ReactNode;
}) {
  const [name, setName] = useState(username.value);
  return (
    <Dialog title={title} onClose={onClose}>
      {children}
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          const clean = cleanName(name);
          if (!clean) return;
          username.set(clean);
          onDone?.();
        }}
      >
        <label className="field">
          Your name
          <input
            value={name}
            onChange={({ target }) => setName(target.value)}
            maxLength={Limits.username}
            autoComplete="nickname"
            required
            autoFocus
          />
        </label>
        <div className="actions">
          {onClose && (
            <button type="button" className="button" onClick={onClose}>
              Cancel
            </button>
          )}
          <button className="button primary" disabled={!cleanName(name)}>
            {action}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
