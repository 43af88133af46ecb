import { availableParallelism } from "node:os";

// libuv reads its number of threads when the first one is needed, so this must be the first import of main.ts: it runs
// before any module that hashes, resolves a name or reads a file. Hashes get their permits' worth of threads and four
// are left for DNS and files; with libuv's default of four, a burst of logins would stop both. Beside config.ts this is
// the only reader of the environment, because config.ts comes too late.
const permits = Number(process.env.HASH_CONCURRENCY) || Math.max(1, availableParallelism() - 1);
const wanted = Math.max(permits + 4, Number(process.env.UV_THREADPOOL_SIZE) || 0);
process.env.UV_THREADPOOL_SIZE = String(Math.min(wanted, 1_024));
