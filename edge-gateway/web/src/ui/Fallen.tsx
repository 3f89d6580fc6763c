import { Component, type ReactNode } from "react";

/**
 * Stands where a part of the page cannot be shown: a file that was not to be had, or a fault
 * of ours. The rest of the page goes on.
 */
export class Fallen extends Component<{ text: string; children: ReactNode }, { hasFallen: boolean }> {
  override state = { hasFallen: false };

  static getDerivedStateFromError(): { hasFallen: boolean } {
    return { hasFallen: true };
  }

  override render(): ReactNode {
    if (!this.state.hasFallen) return this.props.children;
    return (
      <div className="fallen" role="alert">
        <p>{this.props.text}</p>
        <button type="button" className="button primary" onClick={() => location.reload()}>
          Reload the page
        </button>
      </div>
    );
  }
}
