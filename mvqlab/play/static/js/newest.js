// Work that is asked for faster than it is done: what was asked last is done next, the rest never.

export function newestOnly(work) {
  let running = false;
  let waiting = null;
  return async function ask(...words) {
    waiting = words;
    if (running) return;
    running = true;
    try {
      while (waiting) {
        const next = waiting;
        waiting = null;
        await work(...next);
      }
    } finally {
      running = false;
    }
  };
}
