import { chooseTheme, useTheme } from "../browser/theme";
import { Icon } from "./Icon";

export function ThemeButton() {
  const other = useTheme() === "dark" ? "light" : "dark";
  const label = `Use the ${other} theme`;
  return (
    <button type="button" className="button quiet square theme-button" aria-label={label} title={label} onClick={() => chooseTheme(other)}>
      <Icon name={other === "dark" ? "moon" : "sun"} />
    </button>
  );
}
