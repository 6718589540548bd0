'use strict'
// What the suites in JavaScript share: cases run some at a time. Those whose names stand in the variable LEFT_OUT, one a line, are not
// run. The last line is `N passed, N failed, N skipped`.

const CASE_MS = 600000
const AT_ONCE = 4 // most of the time cases wait for what clients do every few seconds

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

async function until (condition, what, ms = 30000) {
  const end = Date.now() + ms
  for (;;) {
    const got = await condition()
    if (got) return got
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}`)
    await pause(20)
  }
}

// What went wrong, or undefined.
async function runOne (work) {
  let timer
  const hang = new Promise((_resolve, reject) => { timer = setTimeout(() => reject(new Error(`nothing happens for ${CASE_MS} ms`)), CASE_MS) })
  try {
    await Promise.race([work(), hang])
  } catch (error) {
    return error
  } finally {
    clearTimeout(timer)
  }
}

async function run (cases, { before = async () => {}, after = async () => {} } = {}) {
  const word = process.argv[2] || ''
  const leftOut = (process.env.LEFT_OUT || '').split('\n')
  const counts = { passed: 0, failed: 0, skipped: 0 }
  const waiting = Object.entries(cases).filter(([name]) => name.includes(word))
  const worker = async () => {
    while (waiting.length > 0) {
      const [name, work] = waiting.shift()
      if (leftOut.includes(name)) {
        counts.skipped++
        continue
      }
      const began = Date.now()
      const error = await runOne(work)
      const took = Date.now() - began
      counts[error ? 'failed' : 'passed']++
      console.log(`${error ? 'FAILED' : 'ok'} ${name}${error ? `: ${error.stack}` : ''}${took > 2000 ? ` (${took / 1000} s)` : ''}`)
    }
  }
  await before()
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`)
  await Promise.race([after(), pause(5000)])
  process.exit(counts.failed || !counts.passed ? 1 : 0)
}

module.exports = { run, until, pause }
