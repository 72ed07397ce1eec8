// What the app keeps in the browser: entries of localStorage whose names begin with `liveplan.`. It uses no cookies, no
// caches and no databases.
const OWN = 'liveplan.';

/** Removes everything that the app keeps, the chosen language included: the next person starts as on a new device. */
export function forgetStored(storage: Storage = localStorage): void {
  const names = Array.from({ length: storage.length }, (_, n) => storage.key(n));
  for (const name of names) if (name?.startsWith(OWN)) storage.removeItem(name);
}
