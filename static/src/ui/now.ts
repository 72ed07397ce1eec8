import { signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';

const now = signal(Date.now());
let users = 0;
let timer: ReturnType<typeof setInterval> | undefined;

/** The time, renewed every half minute for as long as somebody shows it. */
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
