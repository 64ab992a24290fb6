// SPDX-License-Identifier: Apache-2.0

// Calls Echo by grpc-js, which shares no code with the gRPC of Go, and prints the code of each answer. Messages are written by hand: they have one field.
import { readFileSync } from "node:fs";
import grpc from "@grpc/grpc-js";

const { address, ca, calls } = JSON.parse(process.argv[2]);
const client = new grpc.Client(address, grpc.credentials.createSsl(readFileSync(ca)));
const codes = Object.fromEntries(Object.entries(grpc.status).map(([name, code]) => [code, name]));
for (const pairs of calls) {
  const metadata = new grpc.Metadata();
  for (const [key, value] of pairs) metadata.add(key, value);
  const answer = await new Promise((done) =>
    client.makeUnaryRequest("/echo.v1.EchoService/Echo", (text) => Buffer.concat([Buffer.from([10, text.length]), Buffer.from(text)]), (bytes) => bytes.toString(), "hello", metadata, (error, response) =>
      done(error ? codes[error.code] : `OK ${response.replace(/[\x00-\x1f]/g, " ")}`),
    ),
  );
  console.log(answer);
}
client.close();
