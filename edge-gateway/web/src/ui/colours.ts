/**
 * The hue of a person, by id: the one that Excalidraw gives to the cursor of a collaborator
 * with this id, so that a name and a cursor have the same colour.
 */
export function hueOf(userId: string): number {
  let hash = 0;
  for (let n = 0; n < userId.length; n += 1) hash = (hash << 5) - hash + userId.charCodeAt(n);
  return (Math.abs(hash) % 37) * 10;
}
