import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import type { Compression } from "@connectrpc/connect/protocol";
import { compressionBrotli, compressionGzip } from "@connectrpc/connect-node";

const gzipAsync = promisify(gzip);
const brotliAsync = promisify(brotliCompress);

/**
 * Answers at the fast end of each format. For a list of 1,000 nodes (176 KB) gzip takes 1.4 ms instead of 2.6 ms and
 * gives a few percent more bytes; brotli's default, its slowest level, would be hundreds of milliseconds of processor
 * time that a client asks for with one header.
 */
export const fastCompressions: readonly Compression[] = [
  { ...compressionGzip, compress: async (bytes) => gzipAsync(bytes, { level: constants.Z_BEST_SPEED }) },
  {
    ...compressionBrotli,
    compress: async (bytes) => brotliAsync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } }),
  },
];
