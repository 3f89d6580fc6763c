import { useRoute } from "./browser/router";
import { Room } from "./pages/Room";
import { Rooms } from "./pages/Rooms";
import { Fallen } from "./ui/Fallen";

export function App() {
  const route = useRoute();
  return (
    <Fallen text="Something went wrong on this page. What you made is kept.">
      {route.page === "room" ? <Room key={route.code} code={route.code} /> : <Rooms />}
    </Fallen>
  );
}
