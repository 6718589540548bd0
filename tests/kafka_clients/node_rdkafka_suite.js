'use strict'
// node-rdkafka's own e2e tests, unchanged, against the broker at localhost:9092. LEFT_OUT: parts of titles of tests that are not run.
const { fork } = require('node:child_process')
const path = require('node:path')
const Mocha = require('mocha')
const rdkafka = require('node-rdkafka')

const HOME = path.dirname(require.resolve('node-rdkafka/package.json'))
const FILES = ['admin', 'both', 'consumer', 'groups', 'producer-transaction', 'producer']
const TOPICS = ['test', 'test2', 'test3', 'test4', 'test5', 'test6'] // as its run_docker.sh makes them
const TRIES = 3
const leftOut = (process.env.LEFT_OUT || '').split('\n').filter(Boolean)

function makeTopics () {
  const client = rdkafka.AdminClient.create({ 'metadata.broker.list': 'localhost:9092' })
  const made = TOPICS.map((topic) => new Promise((resolve, reject) => {
    client.createTopic({ topic, num_partitions: 1, replication_factor: 1 }, (error) => error ? reject(error) : resolve())
  }))
  return Promise.all(made).finally(() => client.disconnect())
}

function wanted (suite, passed) {
  suite.tests = suite.tests.filter((test) => !leftOut.some((part) => test.title.includes(part)) && !passed.includes(test.fullTitle()))
  suite.suites.forEach((inner) => wanted(inner, passed))
}

// In a process of its own. passed: the tests that need not run.
function runFile (file, grep, passed) {
  const mocha = new Mocha({ timeout: 120000, reporter: function () {}, grep }) // the time limit of its Makefile
  let hung = false
  const counts = { passed: [], failed: 0, skipped: 0 }
  mocha.addFile(path.join(HOME, 'e2e', `${file}.spec.js`))
  mocha.loadFiles()
  wanted(mocha.suite, passed)
  mocha.run()
    .on('pass', (test) => { counts.passed.push(test.fullTitle()); console.log(`ok ${test.fullTitle()} (${test.duration} ms)`) })
    .on('fail', (test, error) => {
      counts.failed++
      hung = hung || test.type === 'hook'
      console.log(`FAILED ${test.fullTitle()}: ${error.stack || error}`)
    })
    .on('pending', () => { counts.skipped++ })
    .on('end', () => process.send({ ...counts, hung }))
}

// What it counted; null when it ended without a word.
function counted (file, grep, passed) {
  return new Promise((resolve) => {
    let counts = null
    const child = fork(__filename, [grep || '', file, JSON.stringify(passed)]).on('exit', () => resolve(counts))
    child.on('message', (message) => { // of itself it would not end while a consumer does not
      counts = message
      child.kill('SIGKILL')
    })
  })
}

async function main (grep) {
  const all = { passed: 0, failed: 0, skipped: 0 }
  await makeTopics()
  for (const file of FILES) {
    const passed = []
    let counts, before, tries = 0
    // Its consumers sometimes do not end when they are disconnected, or crash, with Apache Kafka as well: then what is left of the file is run.
    do {
      before = passed.length
      counts = await counted(file, grep, passed)
      if (counts) passed.push(...counts.passed)
    } while (counts ? counts.hung && passed.length > before : ++tries < TRIES)
    if (!counts) console.log(`FAILED ${file}.spec.js: it ends without a word`)
    all.passed += passed.length
    all.failed += counts ? counts.failed : 1
    all.skipped += counts ? counts.skipped : 0
  }
  console.log(`${all.passed} passed, ${all.failed} failed, ${all.skipped} skipped`)
  process.exit(all.failed || !all.passed ? 1 : 0)
}

const [grep, file, passed] = process.argv.slice(2)
if (file) runFile(file, grep, JSON.parse(passed))
else main(grep).catch((error) => { console.log(error); process.exit(1) })
