import "./styles/base.css";
import "./styles/rooms.css";
import "./styles/room.css";
import "./styles/chat.css";

import { createRoot } from "react-dom/client";

import { App } from "./App";
import { keepForOffline } from "./browser/offline";

const root = document.getElementById("app");
if (root) createRoot(root).render(<App />);

window.addEventListener("load", () => void keepForOffline());
