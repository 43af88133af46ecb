import { inspect } from "node:util";

/** A value that no log line, error message or JSON document shows by accident; `reveal` is the only way to it. */
export class Secret<T = string> {
  readonly #value: T;

  constructor(value: T) {
    this.#value = value;
  }

  reveal(): T {
    return this.#value;
  }

  toString(): string {
    return "[secret]";
  }

  toJSON(): string {
    return "[secret]";
  }

  [inspect.custom](): string {
    return "[secret]";
  }
}

/**
 * A PostgreSQL URL. `isShared` tells that it came from the general DATABASE_URL instead of the service's own variable,
 * in which case the pool gives up the login's rights for those of the service's application role.
 */
export class DatabaseUrl extends Secret {
  readonly isShared: boolean;

  constructor(url: string, isShared: boolean) {
    super(url);
    this.isShared = isShared;
  }
}
