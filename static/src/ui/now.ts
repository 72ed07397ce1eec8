import { signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';

const now = signal(Date.now());
let users = 0;
let timer: ReturnType<typeof setInterval> | undefined;

/** The current time, updated every half minute while a mounted component uses it. */
export function useNow(): number {
  useEffect(() => {
    users += 1;
    timer ??= setInterval(() => (now.value = Date.now()), 30_000);
    return () => {
      users -= 1;
      if (users > 0) return;
      clearInterval(timer);
      timer = undefined;
    };
  }, []);
  return now.value;
}
