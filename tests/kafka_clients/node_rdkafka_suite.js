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

function wanted (suite) {
  suite.tests = suite.tests.filter((test) => !leftOut.some((part) => test.title.includes(part)))
  suite.suites.forEach(wanted)
}

// In a process of its own.
function runFile (file, grep) {
  const mocha = new Mocha({ timeout: 120000, reporter: function () {}, grep }) // the time limit of its Makefile
  let hung = false
  const counts = { passed: 0, failed: 0, skipped: 0 }
  mocha.addFile(path.join(HOME, 'e2e', `${file}.spec.js`))
  mocha.loadFiles()
  wanted(mocha.suite)
  mocha.run()
    .on('pass', (test) => { counts.passed++; console.log(`ok ${test.fullTitle()} (${test.duration} ms)`) })
    .on('fail', (test, error) => {
      counts.failed++
      hung = hung || test.type === 'hook'
      console.log(`FAILED ${test.fullTitle()}: ${error.stack || error}`)
    })
    .on('pending', () => { counts.skipped++ })
    .on('end', () => process.send({ ...counts, hung }, () => process.exit(0)))
}

// What it counted; null when it ended without a word.
function counted (file, grep) {
  return new Promise((resolve) => {
    let counts = null
    fork(__filename, [grep || '', file]).on('message', (message) => { counts = message }).on('exit', () => resolve(counts))
  })
}

async function main (grep) {
  const all = { passed: 0, failed: 0, skipped: 0 }
  await makeTopics()
  for (const file of FILES) {
    let counts
    // Its consumers sometimes do not end when they are disconnected, or crash, with Apache Kafka as well: then the file is run again.
    for (let i = 0; i < TRIES && (!counts || counts.hung); i++) counts = await counted(file, grep)
    if (!counts) console.log(`FAILED ${file}.spec.js: it ends without a word`)
    for (const what of Object.keys(all)) all[what] += counts ? counts[what] : what === 'failed' ? 1 : 0
  }
  console.log(`${all.passed} passed, ${all.failed} failed, ${all.skipped} skipped`)
  process.exit(all.failed || !all.passed ? 1 : 0)
}

const [grep, file] = process.argv.slice(2)
if (file) runFile(file, grep)
else main(grep).catch((error) => { console.log(error); process.exit(1) })
