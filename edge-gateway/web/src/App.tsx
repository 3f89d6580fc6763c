import { type Route, useRoute } from "./browser/router";
import { NoSuchRoom, Room } from "./pages/Room";
import { Rooms } from "./pages/Rooms";
import { Fallen } from "./ui/Fallen";

function page(route: Route) {
  if (route.page === "rooms") return <Rooms />;
  if (route.code === undefined) return <NoSuchRoom text="The address of a room ends with its code of six digits. Check the link, or ask for a new one." />;
  return <Room key={route.code} code={route.code} />;
}

export function App() {
  const route = useRoute();
  return (
    <Fallen text="Something went wrong on this page. What you made is kept.">
      {page(route)}
    </Fallen>
  );
}
