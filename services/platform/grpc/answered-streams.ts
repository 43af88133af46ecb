import { constants, type ServerHttp2Stream } from "node:http2";

/**
 * Closes a stream that has been answered while its client goes on sending, as RFC 9113 8.1 allows. grpc-js leaves that to
 * its clients: a stream that a node does not end, superseded or refused, would keep its memory as long as the connection.
 */
export function closeOnceAnswered(stream: ServerHttp2Stream): void {
  const close = () => {
    if (!stream.readableEnded) setImmediate(() => stream.close(constants.NGHTTP2_NO_ERROR));
  };
  // A listener behind this one hands over the trailers. In the same turn the reset would overtake them.
  stream.once("wantTrailers", () => process.nextTick(close));
  // A refusal is an answer that is nothing but headers. What is reset finishes without any.
  stream.once("finish", () => {
    if (stream.headersSent && stream.sentHeaders["grpc-status"] !== undefined) close();
  });
}
