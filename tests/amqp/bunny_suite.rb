# Bunny, Ruby's client, as its guides use it. The last line is `N passed, N failed, 0 skipped`.
require "bunny"
require "json"
require "timeout"

CASES = []
WAIT_S = 240

def test(name, &block)
  CASES << [name, block]
end

def equal(expected, got)
  raise "expected #{expected.inspect}, got #{got.inspect}" unless expected == got
end

def raises(kind, text)
  yield
  raise "#{kind} was expected"
rescue kind => e
  raise "expected #{text.inspect} in #{e.message.inspect}" unless e.message.include?(text)
end

test "publish and get" do |c|
  ch = c.create_channel
  q = ch.queue("", exclusive: true)
  ch.default_exchange.publish("hello", routing_key: q.name, headers: { "a" => 1, "t" => Time.at(1_700_000_000), "n" => nil, "l" => [1, "x"] },
                              content_type: "text/plain", type: "greeting", message_id: "m", timestamp: 1_700_000_000, priority: 3)
  _, p, body = q.pop
  equal "hello", body
  equal({ "a" => 1, "t" => Time.at(1_700_000_000), "n" => nil, "l" => [1, "x"] }, p.headers)
  equal ["text/plain", "greeting", "m", 3], [p.content_type, p.type, p.message_id, p.priority]
end

test "subscribe to a topic" do |c|
  ch = c.create_channel
  x = ch.topic("bunny.topic", auto_delete: true)
  got = Queue.new
  q = ch.queue("", exclusive: true).bind(x, routing_key: "weather.#").bind(x, routing_key: "news.*")
  q.subscribe { |info, _, body| got << [info.routing_key, body] }
  %w[weather weather.eu.vie news news.eu sports].each { |k| x.publish(k.upcase, routing_key: k) }
  x.publish("end", routing_key: "weather.end")
  equal %w[weather weather.eu.vie news.eu weather.end], Array.new(4) { got.pop[0] }
end

test "acknowledge, reject, prefetch" do |c|
  ch = c.create_channel
  ch.prefetch(2)
  q = ch.queue("bunny.work", durable: true)
  4.times { |i| q.publish(i.to_s, persistent: true) }
  got = Queue.new
  consumer = q.subscribe(manual_ack: true) { |info, _, body| got << [info, body] }
  first = got.pop
  second = got.pop
  equal 2, q.message_count
  ch.nack(second[0].delivery_tag, false, true)
  equal "1", got.pop[1]
  ch.ack(first[0].delivery_tag)
  equal "2", got.pop[1]
  consumer.cancel
  ch.close
  q2 = c.create_channel.queue("bunny.work", durable: true)
  equal 3, q2.message_count
  q2.delete
end

test "confirms" do |c|
  ch = c.create_channel
  ch.confirm_select
  q = ch.queue("", exclusive: true)
  300.times { |i| ch.default_exchange.publish(i.to_s, routing_key: q.name) }
  equal true, ch.wait_for_confirms
  equal 300, q.message_count
  equal 301, ch.next_publish_seq_no
end

test "returned messages" do |c|
  ch = c.create_channel
  x = ch.default_exchange
  got = Queue.new
  x.on_return { |info, _, body| got << [info.reply_text, body] }
  x.publish("back", routing_key: "bunny.nobody", mandatory: true)
  equal ["NO_ROUTE", "back"], got.pop
end

test "dead letters" do |c|
  ch = c.create_channel
  dlx = ch.fanout("bunny.dlx", auto_delete: true)
  q = ch.queue("", exclusive: true, arguments: { "x-dead-letter-exchange" => dlx.name, "x-max-length" => 1 })
  dead = ch.queue("", exclusive: true).bind(dlx)
  %w[1 2].each { |b| q.publish(b) }
  _, p, body = Timeout.timeout(WAIT_S) { loop { r = dead.pop; break r if r[2] } }
  equal "1", body
  equal "maxlen", p.headers["x-death"][0]["reason"]
end

test "errors of a channel" do |c|
  ch = c.create_channel
  ch.queue("bunny.same", auto_delete: true)
  ch = c.create_channel # each knows the queues that it has declared
  raises(Bunny::PreconditionFailed, "inequivalent arg 'durable' for queue 'bunny.same'") { ch.queue("bunny.same", durable: true) }
  equal false, ch.open?
  ch = c.create_channel
  raises(Bunny::NotFound, "no queue 'bunny.missing' in vhost '/'") { ch.queue("bunny.missing", passive: true) }
  equal true, c.queue_exists?("bunny.same")
  equal false, c.exchange_exists?("bunny.missing")
  c.create_channel.queue_delete("bunny.same")
end

test "exchange bindings and alternates" do |c|
  ch = c.create_channel
  spare = ch.fanout("bunny.spare", auto_delete: true)
  source = ch.fanout("bunny.source", auto_delete: true)
  x = ch.direct("bunny.direct", auto_delete: true, arguments: { "alternate-exchange" => spare.name })
  x.bind(source)
  q = ch.queue("", exclusive: true).bind(spare)
  source.publish("through", routing_key: "k")
  equal "through", q.pop[2]
  ch.exchange_delete(x.name)
end

test "transactions" do |c|
  ch = c.create_channel
  q = ch.queue("", exclusive: true)
  ch.tx_select
  q.publish("1")
  equal 0, q.message_count
  ch.tx_commit
  equal 1, q.message_count
end

test "remote procedure call by direct reply" do |c|
  server = c.create_channel
  q = server.queue("", exclusive: true)
  q.subscribe { |_, p, body| server.default_exchange.publish(body.reverse, routing_key: p.reply_to, correlation_id: p.correlation_id) }
  ch = c.create_channel
  got = Queue.new
  ch.basic_consume("amq.rabbitmq.reply-to", "", true) { |_, p, body| got << [p.correlation_id, body] }
  ch.default_exchange.publish("stressed", routing_key: q.name, reply_to: "amq.rabbitmq.reply-to", correlation_id: "1")
  equal %w[1 desserts], got.pop
end

test "large bodies" do |c|
  ch = c.create_channel
  q = ch.queue("", exclusive: true)
  body = Random.new(1).bytes(3_000_000)
  q.publish(body)
  equal body.sum, q.pop[2].sum
end

test "wrong password" do |_|
  raises(Bunny::AuthenticationFailureError, "Authentication with") do
    Bunny.new(password: "wrong", log_level: :fatal, recover_from_connection_close: false).start
  end
end

test "a vhost that is missing" do |_|
  raises(Bunny::NotAllowedError, "vhost bunny.nowhere not found") do
    Bunny.new(vhost: "bunny.nowhere", log_level: :fatal, automatically_recover: false).start
  end
end

failed = 0
CASES.each do |name, block|
  c = Bunny.new(log_level: :fatal)
  begin
    Timeout.timeout(2 * WAIT_S) do
      c.start
      block.call(c)
    end
    puts "ok #{name}"
  rescue Exception => e
    failed += 1
    puts "FAILED #{name}: #{e.class}: #{e.message}"
  ensure
    c.close if c.open?
  end
  $stdout.flush
end
puts "#{CASES.size - failed} passed, #{failed} failed, 0 skipped"
exit(failed.zero? ? 0 : 1)
