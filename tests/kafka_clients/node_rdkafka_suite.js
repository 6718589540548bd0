'use strict'
// node-rdkafka's own e2e tests, unchanged, against the broker at localhost:9092. LEFT_OUT: parts of titles of tests that are not run.
const { fork } = require('node:child_process')
const path = require('node:path')
const Mocha = require('mocha')
const rdkafka = require('node-rdkafka')

const HOME = path.dirname(require.resolve('node-rdkafka/package.json'))
const FILES = ['admin', 'both', 'consumer', 'groups', 'producer-transaction', 'producer']
const TOPICS = ['test', 'test2', 'test3', 'test4', 'test5', 'test6'] // as its run_docker.sh makes them
const TRIES = 10 // without a test that passes: one test alone disconnects within a 'data' event, and crashes more often than not
const END_MS = 30000
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

// Calls hung() when a consumer does not end. node-rdkafka 3.6.1 forgets messages that its consumeLoop has read and JavaScript has not got yet when it
// disconnects, and librdkafka waits for them for ever; when it disconnects within a 'data' event and more messages came, it crashes. Both with any
// broker: consume a topic of many records in a loop, and disconnect after the first one, or within its event.
function watchEnds (hung) {
  const disconnect = rdkafka.KafkaConsumer.prototype.disconnect
  rdkafka.KafkaConsumer.prototype.disconnect = function (done) {
    const watch = this._isDisconnecting ? undefined : setTimeout(hung, END_MS)
    return disconnect.call(this, (...results) => {
      clearTimeout(watch)
      if (done) done(...results)
    })
  }
}

// In a process of its own. passed: the tests that need not run.
function runFile (file, grep, passed) {
  const mocha = new Mocha({ timeout: 120000, reporter: function () {}, grep }) // the time limit of its Makefile
  const counts = { failed: 0, skipped: 0, hung: false }
  watchEnds(() => process.send({ ...counts, hung: true }))
  mocha.addFile(path.join(HOME, 'e2e', `${file}.spec.js`))
  mocha.loadFiles()
  wanted(mocha.suite, passed)
  mocha.run()
    .on('pass', (test) => { process.send({ passed: test.fullTitle(), took: test.duration }) })
    .on('fail', (test, error) => {
      counts.failed++
      console.log(`FAILED ${test.fullTitle()}: ${error.stack || error}`)
    })
    .on('pending', () => { counts.skipped++ })
    .on('end', () => process.send(counts))
}

// What it counted; null when it ended without a word. The tests that pass are added to `passed`.
function counted (file, grep, passed) {
  return new Promise((resolve) => {
    let counts = null
    const child = fork(__filename, [grep || '', file, JSON.stringify(passed)]).on('exit', () => resolve(counts))
    child.on('message', (message) => {
      if (message.passed) {
        passed.push(message.passed)
        console.log(`ok ${message.passed} (${message.took} ms)`)
      } else {
        counts = message
        child.kill('SIGKILL') // of itself it would not end while a consumer does not
      }
    })
  })
}

async function main (grep) {
  const all = { passed: 0, failed: 0, skipped: 0 }
  await makeTopics()
  for (const file of FILES) {
    const passed = []
    let counts, before, tries = 0
    do { // what is left of the file, when a consumer hung or crashed
      before = passed.length
      counts = await counted(file, grep, passed)
      tries = passed.length > before ? 0 : tries + 1
      if (counts) all.failed += counts.failed
      if (!counts || counts.hung) console.log(`${file}.spec.js: a consumer ${counts ? 'does not end' : 'crashed'}`)
    } while ((!counts || counts.hung) && tries < TRIES)
    if (!counts || counts.hung) {
      console.log(`FAILED ${file}.spec.js`)
      all.failed++
    }
    all.passed += passed.length
    all.skipped += counts ? counts.skipped : 0
  }
  console.log(`${all.passed} passed, ${all.failed} failed, ${all.skipped} skipped`)
  process.exit(all.failed || !all.passed ? 1 : 0)
}

const [grep, file, passed] = process.argv.slice(2)
if (file) runFile(file, grep, JSON.parse(passed))
else main(grep).catch((error) => { console.log(error); process.exit(1) })
