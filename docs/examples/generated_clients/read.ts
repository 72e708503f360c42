// Reads the total of the book with the types that openapi-typescript has made, schema.d.ts.
//
//     PRICEBOOK_URL=http://localhost:8000 PRICEBOOK_KEY=... node read.js

import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

const client = createClient<paths>({
  baseUrl: process.env.PRICEBOOK_URL,
  headers: { Authorization: `Api-Key ${process.env.PRICEBOOK_KEY}` },
});
const { data, error } = await client.GET("/api/totals/", {
  params: { query: { decimals: "string" } },
});
if (!data) throw new Error(error?.detail);
// A text: take it to a library of decimals, and not to Number(), which has no place for it.
const total: string = data.total_amount;
console.log(total, data.currency);
