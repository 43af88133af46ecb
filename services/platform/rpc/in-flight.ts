/** Counts the calls between their admission and their end, over all ports of a service. */
export interface InFlight {
  begin(): void;
  end(): void;
  readonly count: number;
  /** Resolves when no call is left; at once where there is none. */
  idle(): Promise<void>;
}

export function createInFlight(): InFlight {
  let count = 0;
  let waiting: (() => void)[] = [];
  return {
    get count() {
      return count;
    },
    begin: () => {
      count++;
    },
    end: () => {
      count--;
      if (count > 0) return;
      for (const resolve of waiting) resolve();
      waiting = [];
    },
    idle: () => (count === 0 ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve))),
  };
}
