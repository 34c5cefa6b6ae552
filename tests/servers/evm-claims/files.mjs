// The files of closed months, and how a check ends.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export const json = (folder, name) => JSON.parse(readFileSync(join(folder, name), 'utf8'))
const fail = (what) => { console.error(what); process.exit(1) }
export const must = (holds, what) => holds || fail(what)
