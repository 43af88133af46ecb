/** The configured address is none of this machine's, or somebody else has the port: waiting does not mend that. */
export class ListenError extends Error {
  override readonly name = "ListenError";
}

/** What `server` gives. @throws ListenError, naming the variables, where it cannot listen on the host and port. */
export async function listening<T>(variable: string, host: string, port: number, server: Promise<T>): Promise<T> {
  try {
    return await server;
  } catch (cause) {
    if (!(cause instanceof Error && "syscall" in cause)) throw cause;
    throw new ListenError(`cannot listen on ${host}:${port}, check HOST and ${variable}: ${cause.message}`, { cause });
  }
}
