package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// A client that is closed when the context ends, at the latest.
func franz(ctx context.Context, opts ...kgo.Opt) *kgo.Client {
	return get(kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(broker), kgo.WithContext(ctx), kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.MetadataMinAge(50 * time.Millisecond)}, opts...)...))
}

func withAdmin(ctx context.Context, work func(*kadm.Client), opts ...kgo.Opt) {
	client := franz(ctx, opts...)
	defer client.Close()
	work(kadm.NewClient(client))
}

func franzTopic(ctx context.Context, partitions int32) string {
	topic := unique("topic")
	withAdmin(ctx, func(admin *kadm.Client) {
		get(admin.CreateTopic(ctx, partitions, 1, nil, topic))
		until(ctx, "the topic is known", func() bool { return len(get(admin.ListTopics(ctx, topic))[topic].Partitions) == int(partitions) })
	})
	return topic
}

func records(topic string, values []string) []*kgo.Record {
	made := make([]*kgo.Record, len(values))
	for i, value := range values {
		made[i] = &kgo.Record{Topic: topic, Key: []byte(value), Value: []byte(value)}
	}
	return made
}

func franzSend(ctx context.Context, topic string, values []string, opts ...kgo.Opt) {
	client := franz(ctx, opts...)
	defer client.Close()
	must(client.ProduceSync(ctx, records(topic, values)...).FirstErr())
}

// The next so many records.
func poll(ctx context.Context, client *kgo.Client, count int) []*kgo.Record {
	var got []*kgo.Record
	for len(got) < count {
		fetches := client.PollFetches(ctx)
		must(errors.Join(fetchErrors(fetches)...))
		got = append(got, fetches.Records()...)
	}
	equal(len(got), count, "records")
	return got
}

func fetchErrors(fetches kgo.Fetches) (found []error) {
	for _, failed := range fetches.Errors() {
		found = append(found, failed.Err)
	}
	return found
}

func franzRead(ctx context.Context, topic string, count int, opts ...kgo.Opt) []*kgo.Record {
	client := franz(ctx, append([]kgo.Opt{kgo.ConsumeTopics(topic)}, opts...)...)
	defer client.Close()
	return poll(ctx, client, count)
}

func values(got []*kgo.Record) []string {
	texts := make([]string, len(got))
	for i, record := range got {
		texts[i] = string(record.Value)
	}
	return texts
}

var readCommitted = kgo.FetchIsolationLevel(kgo.ReadCommitted())

// A member of a group that notes what it gets until it is stopped.
type franzMember struct {
	*kgo.Client
	lock   sync.Mutex
	values []string
	parts  map[int32]bool
	over   chan bool
}

func franzJoin(ctx context.Context, group, topic string, opts ...kgo.Opt) *franzMember {
	m := &franzMember{parts: map[int32]bool{}, over: make(chan bool)}
	change := func(held bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, changed map[string][]int32) {
			m.lock.Lock()
			defer m.lock.Unlock()
			for _, partition := range changed[topic] {
				if held {
					m.parts[partition] = true
				} else {
					delete(m.parts, partition)
				}
			}
		}
	}
	m.Client = franz(ctx, append([]kgo.Opt{kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.HeartbeatInterval(300 * time.Millisecond),
		kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false))}, opts...)...)
	go func() {
		defer close(m.over)
		for {
			fetches := m.PollFetches(ctx)
			if fetches.IsClientClosed() || ctx.Err() != nil {
				return
			}
			m.lock.Lock()
			m.values = append(m.values, values(fetches.Records())...)
			m.lock.Unlock()
		}
	}()
	return m
}

func (m *franzMember) got() int {
	m.lock.Lock()
	defer m.lock.Unlock()
	return len(m.values)
}

func (m *franzMember) held() []int32 {
	m.lock.Lock()
	defer m.lock.Unlock()
	return slices.Sorted(maps.Keys(m.parts))
}

func (m *franzMember) stop() {
	m.Close()
	<-m.over
}

// Two members share four partitions, and what one has got and committed the other does not get.
func franzGroup(ctx context.Context, opts ...kgo.Opt) {
	topic, group := franzTopic(ctx, 4), unique("group")
	franzSend(ctx, topic, numbers(100))
	one := franzJoin(ctx, group, topic, opts...)
	defer one.stop()
	until(ctx, "one gets all", func() bool { return one.got() == 100 })
	must(one.CommitUncommittedOffsets(ctx))
	two := franzJoin(ctx, group, topic, opts...)
	until(ctx, "each has two partitions", func() bool { return len(one.held()) == 2 && len(two.held()) == 2 })
	franzSend(ctx, topic, numbers(200))
	until(ctx, "both get all", func() bool { return one.got()+two.got() >= 300 })
	equal(one.got()+two.got(), 300)
	holds(two.got() > 0, "two gets nothing")
	two.stop()
	until(ctx, "one has all partitions again", func() bool { return len(one.held()) == 4 })
}

func franzLogin(ctx context.Context, s *userServer, address string, mechanism sasl.Mechanism) error {
	opts := []kgo.Opt{kgo.SeedBrokers(address), kgo.SASL(mechanism)}
	if address == s.secure {
		opts = append(opts, kgo.DialTLSConfig(s.trust))
	}
	client := franz(ctx, opts...)
	defer client.Close()
	return client.Ping(ctx)
}

func offsetsOf(listed kadm.ListedOffsets, topic string) []int64 {
	offsets := make([]int64, len(listed[topic]))
	for partition, offset := range listed[topic] {
		must(offset.Err)
		offsets[partition] = offset.Offset
	}
	return offsets
}

func committed(ctx context.Context, admin *kadm.Client, group, topic string) int64 {
	offset, _ := get(admin.FetchOffsets(ctx, group)).Lookup(topic, 0)
	return offset.At
}

var franzGo = []testCase{
	{"what is produced with every codec is read", func(ctx context.Context) {
		topic := franzTopic(ctx, 1)
		codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
		var wanted []string
		for _, codec := range codecs {
			franzSend(ctx, topic, numbers(500), kgo.ProducerBatchCompression(codec))
			wanted = append(wanted, numbers(500)...)
		}
		equal(values(franzRead(ctx, topic, len(wanted))), wanted)
	}},

	{"every level of acks", func(ctx context.Context) {
		topic := franzTopic(ctx, 1)
		for _, acks := range []kgo.Acks{kgo.NoAck(), kgo.LeaderAck(), kgo.AllISRAcks()} {
			franzSend(ctx, topic, numbers(10), kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite())
		}
		franzRead(ctx, topic, 30)
	}},

	{"keys, headers, timestamps and nulls", func(ctx context.Context) {
		topic := franzTopic(ctx, 1)
		client := franz(ctx)
		defer client.Close()
		sent := &kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte("v"), Timestamp: time.UnixMilli(1234567890123),
			Headers: []kgo.RecordHeader{{Key: "a", Value: []byte{0, 255}}, {Key: "a", Value: nil}}}
		must(client.ProduceSync(ctx, sent, &kgo.Record{Topic: topic}).FirstErr())
		got := franzRead(ctx, topic, 2)
		equal(got[0].Key, sent.Key)
		equal(got[0].Headers, sent.Headers)
		equal(got[0].Timestamp.UnixMilli(), int64(1234567890123))
		holds(got[1].Key == nil && got[1].Value == nil, "null is not null")
	}},

	{"an idempotent producer keeps the order over many requests", func(ctx context.Context) {
		topic := franzTopic(ctx, 1)
		client := franz(ctx, kgo.ProducerBatchMaxBytes(1024), kgo.ProducerLinger(0))
		defer client.Close()
		for _, record := range records(topic, numbers(5000)) {
			client.Produce(ctx, record, nil)
		}
		must(client.Flush(ctx))
		equal(values(franzRead(ctx, topic, 5000)), numbers(5000))
		withAdmin(ctx, func(admin *kadm.Client) {
			producers := get(admin.DescribeProducers(ctx, kadm.TopicsSet{topic: {0: {}}}))
			equal(len(producers[topic].Partitions[0].ActiveProducers), 1)
		})
	}},

	{"reading begins at an offset, at a time and at the end", func(ctx context.Context) {
		topic := franzTopic(ctx, 1)
		client := franz(ctx)
		defer client.Close()
		sent := records(topic, numbers(10))
		for i, record := range sent {
			record.Timestamp = time.UnixMilli(int64(1700000000000 + 1000*i))
		}
		must(client.ProduceSync(ctx, sent...).FirstErr())
		from := func(offset kgo.Offset, count int) []string {
			return values(franzRead(ctx, topic, count, kgo.ConsumeResetOffset(offset)))
		}
		equal(from(kgo.NewOffset().At(7), 3), numbers(10)[7:])
		equal(from(kgo.NewOffset().AfterMilli(1700000003001), 6), numbers(10)[4:])
		equal(from(kgo.NewOffset().AtEnd().Relative(-2), 2), numbers(10)[8:])
		equal(from(kgo.NewOffset().AtStart(), 10), numbers(10))
	}},

	{"a group of the classic protocol, eager", func(ctx context.Context) { franzGroup(ctx, kgo.Balancers(kgo.RangeBalancer())) }},
	{"a group of the classic protocol, cooperative", func(ctx context.Context) { franzGroup(ctx, kgo.Balancers(kgo.CooperativeStickyBalancer())) }},
	{"a group of KIP-848", func(ctx context.Context) { franzGroup(ctx, kgo.ServerSideBalancer()) }},

	{"a static member comes back to what it had", func(ctx context.Context) {
		topic, group := franzTopic(ctx, 4), unique("group")
		one := franzJoin(ctx, group, topic, kgo.InstanceID("one"))
		two := franzJoin(ctx, group, topic, kgo.InstanceID("two"))
		defer two.stop()
		until(ctx, "each has two partitions", func() bool { return len(one.held()) == 2 && len(two.held()) == 2 })
		had, kept := one.held(), two.held()
		one.stop() // a static member does not leave
		again := franzJoin(ctx, group, topic, kgo.InstanceID("one"))
		defer again.stop()
		until(ctx, "it has its partitions again", func() bool { return len(again.held()) == 2 })
		equal(again.held(), had)
		equal(two.held(), kept)
	}},

	{"a regular expression of the broker", func(ctx context.Context) {
		prefix, group := unique("prefix"), unique("group")
		withAdmin(ctx, func(admin *kadm.Client) {
			get(admin.CreateTopics(ctx, 2, 1, nil, prefix+"-1", prefix+"-2"))
		})
		one := franzJoin(ctx, group, prefix+"-.*", kgo.ConsumeRegex(), kgo.ServerSideBalancer())
		defer one.stop()
		franzSend(ctx, prefix+"-1", numbers(10))
		franzSend(ctx, prefix+"-2", numbers(10))
		until(ctx, "both topics are read", func() bool { return one.got() == 20 })
	}},

	{"committed transactions are seen and aborted ones not", func(ctx context.Context) {
		topic := franzTopic(ctx, 2)
		client := franz(ctx, kgo.TransactionalID(unique("id")))
		defer client.Close()
		for i := range 4 {
			must(client.BeginTransaction())
			must(client.ProduceSync(ctx, records(topic, []string{fmt.Sprint(i)})...).FirstErr())
			must(client.EndTransaction(ctx, kgo.TransactionEndTry(i%2 == 0)))
		}
		franzSend(ctx, topic, []string{"end"})
		equal(sorted(values(franzRead(ctx, topic, 3, readCommitted))), []string{"0", "2", "end"})
		equal(len(franzRead(ctx, topic, 5)), 5)
	}},

	{"an older producer of a transactional id is fenced", func(ctx context.Context) {
		topic, id := franzTopic(ctx, 1), unique("id")
		older, newer := franz(ctx, kgo.TransactionalID(id)), franz(ctx, kgo.TransactionalID(id))
		defer older.Close()
		defer newer.Close()
		must(older.BeginTransaction())
		must(older.ProduceSync(ctx, records(topic, []string{"older"})...).FirstErr())
		must(newer.BeginTransaction())
		must(newer.ProduceSync(ctx, records(topic, []string{"newer"})...).FirstErr())
		holds(older.EndTransaction(ctx, kgo.TryCommit) != nil, "the older one commits")
		must(newer.EndTransaction(ctx, kgo.TryCommit))
		equal(values(franzRead(ctx, topic, 1, readCommitted)), []string{"newer"})
	}},

	{"exactly once from topic to topic, while members come and go", func(ctx context.Context) {
		const count = 2000
		for _, more := range [][]kgo.Opt{{kgo.Balancers(kgo.CooperativeStickyBalancer())}, {kgo.ServerSideBalancer()}} {
			from, to, group := franzTopic(ctx, 6), franzTopic(ctx, 3), unique("group")
			franzSend(ctx, from, numbers(count))
			over, stop := context.WithCancel(ctx)
			worker := func(life context.Context, polls int) {
				session := get(kgo.NewGroupTransactSession(append([]kgo.Opt{kgo.SeedBrokers(broker), kgo.TransactionalID(unique("id")), kgo.ConsumerGroup(group),
					kgo.ConsumeTopics(from), readCommitted, kgo.RequireStableFetchOffsets(), kgo.FetchMaxWait(300 * time.Millisecond), kgo.MaxConcurrentFetches(1),
					kgo.FetchMaxPartitionBytes(2000), kgo.HeartbeatInterval(300 * time.Millisecond)}, more...)...))
				defer session.Close()
				for i := 0; i < polls && life.Err() == nil; i++ {
					fetches := session.PollRecords(life, 100)
					must(session.Begin())
					fetches.EachRecord(func(r *kgo.Record) {
						session.Produce(ctx, &kgo.Record{Topic: to, Key: r.Key, Value: r.Value}, kgo.AbortingFirstErrPromise(session.Client()).Promise())
					})
					_, err := session.End(ctx, kgo.TryCommit)
					must(err)
				}
			}
			var workers sync.WaitGroup
			for _, polls := range []int{3, 6, 9, 1 << 30} { // all but the last one go before the end
				workers.Go(func() { worker(over, polls) })
			}
			got := values(franzRead(ctx, to, count, readCommitted))
			stop()
			workers.Wait()
			equal(sorted(got), sorted(numbers(count)))
			withAdmin(ctx, func(admin *kadm.Client) {
				lag := get(admin.Lag(ctx, group))
				equal(lag[group].Lag.Total(), int64(0))
			})
		}
	}},

	{"transactions are listed and described", func(ctx context.Context) {
		topic, id := franzTopic(ctx, 1), unique("id")
		client := franz(ctx, kgo.TransactionalID(id))
		defer client.Close()
		must(client.BeginTransaction())
		must(client.ProduceSync(ctx, records(topic, []string{"x"})...).FirstErr())
		withAdmin(ctx, func(admin *kadm.Client) {
			equal(get(admin.ListTransactions(ctx, nil, []string{"Ongoing"}))[id].State, "Ongoing")
			equal(len(get(admin.ListTransactionsByTxPattern(ctx, nil, nil, "^"+id+"$"))), 1)
			described := get(admin.DescribeTransactions(ctx, id))[id]
			equal(described.Topics, kadm.TopicsSet{topic: {0: {}}})
			equal(get(admin.ListEndOffsets(ctx, topic))[topic][0].Offset, int64(1))
			equal(get(admin.ListCommittedOffsets(ctx, topic))[topic][0].Offset, int64(0))
			must(client.EndTransaction(ctx, kgo.TryAbort))
			until(ctx, "the transaction is over", func() bool { return get(admin.DescribeTransactions(ctx, id))[id].State == "CompleteAbort" })
		})
	}},

	{"topics are made, grown, described and deleted", func(ctx context.Context) {
		withAdmin(ctx, func(admin *kadm.Client) {
			topic, value := unique("topic"), "1000000"
			must(get(admin.ValidateCreateTopics(ctx, 2, 1, nil, topic)).Error())
			get(admin.CreateTopic(ctx, 2, 1, map[string]*string{"retention.ms": &value}, topic))
			_, again := admin.CreateTopic(ctx, 2, 1, nil, topic)
			holds(errors.Is(again, kerr.TopicAlreadyExists), "it is made twice")
			must(get(admin.UpdatePartitions(ctx, 5, topic)).Error())
			until(ctx, "it has grown", func() bool { return len(get(admin.ListTopics(ctx, topic))[topic].Partitions) == 5 })
			must(get(admin.DeleteTopics(ctx, topic)).Error())
			until(ctx, "it is gone from what the client remembers", func() bool { return !get(admin.ListTopics(ctx)).Has(topic) })
		})
	}},

	{"configurations are altered one by one", func(ctx context.Context) {
		topic := franzTopic(ctx, 1)
		withAdmin(ctx, func(admin *kadm.Client) {
			are := func(retention, policy string) {
				until(ctx, retention+" and "+policy+" are in force", func() bool {
					found := map[string]string{}
					for _, entry := range get(get(admin.DescribeTopicConfigs(ctx, topic)).On(topic, nil)).Configs {
						found[entry.Key] = entry.MaybeValue()
					}
					return found["retention.ms"] == retention && found["cleanup.policy"] == policy
				})
			}
			alter := func(changes ...kadm.AlterConfig) {
				_, err := get(admin.AlterTopicConfigs(ctx, changes, topic)).On(topic, nil)
				must(err)
			}
			day, compact := "86400000", "compact"
			alter(kadm.AlterConfig{Name: "retention.ms", Value: &day}, kadm.AlterConfig{Op: kadm.AppendConfig, Name: "cleanup.policy", Value: &compact})
			are(day, "delete,compact")
			alter(kadm.AlterConfig{Op: kadm.DeleteConfig, Name: "retention.ms"}, kadm.AlterConfig{Op: kadm.SubtractConfig, Name: "cleanup.policy", Value: &compact})
			are("604800000", "delete")
			broker := get(get(admin.DescribeBrokerConfigs(ctx, 1)).On("1", nil))
			holds(len(broker.Configs) > 20, "the broker has no configuration")
		})
	}},

	{"offsets of topics, by time too, and records are deleted", func(ctx context.Context) {
		topic := franzTopic(ctx, 2)
		client := franz(ctx, kgo.RecordPartitioner(kgo.ManualPartitioner()))
		defer client.Close()
		for i := range 10 {
			must(client.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: int32(i % 2), Timestamp: time.UnixMilli(int64(1700000000000 + 1000*i))}).FirstErr())
		}
		withAdmin(ctx, func(admin *kadm.Client) {
			equal(offsetsOf(get(admin.ListStartOffsets(ctx, topic)), topic), []int64{0, 0})
			equal(offsetsOf(get(admin.ListEndOffsets(ctx, topic)), topic), []int64{5, 5})
			equal(offsetsOf(get(admin.ListOffsetsAfterMilli(ctx, 1700000003500, topic)), topic), []int64{2, 2})
			equal(offsetsOf(get(admin.ListMaxTimestampOffsets(ctx, topic)), topic), []int64{4, 4})
			var before kadm.Offsets
			before.AddOffset(topic, 1, 3, -1)
			must(get(admin.DeleteRecords(ctx, before)).Error())
			equal(offsetsOf(get(admin.ListStartOffsets(ctx, topic)), topic), []int64{0, 3})
			epoch := get(admin.OffsetForLeaderEpoch(ctx, kadm.OffsetForLeaderEpochRequest{topic: {1: 0}}))
			equal(epoch[topic][1].EndOffset, int64(5))
		})
	}},

	{"groups are listed and described, their offsets are set and deleted", func(ctx context.Context) {
		topic := franzTopic(ctx, 1)
		franzSend(ctx, topic, numbers(10))
		withAdmin(ctx, func(admin *kadm.Client) {
			classic, consumer, none := unique("classic"), unique("consumer"), unique("none")
			one := franzJoin(ctx, classic, topic, kgo.InstanceID("static"))
			two := franzJoin(ctx, consumer, topic, kgo.ServerSideBalancer())
			until(ctx, "both have all", func() bool { return one.got() == 10 && two.got() == 10 })
			described := get(admin.DescribeGroups(ctx, classic))[classic]
			equal([]string{described.State, described.ProtocolType, described.Protocol, *described.Members[0].InstanceID}, []string{"Stable", "consumer", "cooperative-sticky", "static"})
			new := get(admin.DescribeConsumerGroups(ctx, consumer))[consumer]
			equal([]any{new.State, len(new.Members)}, []any{"Stable", 1})
			holds(get(admin.ListGroupsByType(ctx, []string{"consumer"}))[consumer].State == "Stable", "it is not listed")
			must(two.CommitUncommittedOffsets(ctx))
			must(one.CommitUncommittedOffsets(ctx))
			equal([]int64{committed(ctx, admin, classic, topic), committed(ctx, admin, consumer, topic)}, []int64{10, 10})
			holds(get(admin.DeleteGroups(ctx, classic)).Error() != nil, "a group with a member is deleted")
			get(admin.LeaveGroup(ctx, kadm.LeaveGroup(classic).InstanceIDs("static")))
			one.stop()
			two.stop()

			var offsets kadm.Offsets
			offsets.AddOffset(topic, 0, 4, -1)
			must(admin.CommitAllOffsets(ctx, none, offsets))
			equal(committed(ctx, admin, none, topic), int64(4))
			equal(get(admin.Lag(ctx, none))[none].Lag.Total(), int64(6))
			must(get(admin.DeleteOffsets(ctx, none, offsets.TopicsSet())).Error())
			until(ctx, "the groups are deleted", func() bool { return get(admin.DeleteGroups(ctx, classic, consumer)).Error() == nil })
		})
	}},

	{"a share group accepts, releases and rejects", func(ctx context.Context) {
		topic, group := franzTopic(ctx, 2), unique("share")
		withAdmin(ctx, func(admin *kadm.Client) {
			var start kadm.Offsets
			start.AddOffset(topic, 0, 0, -1)
			start.AddOffset(topic, 1, 0, -1)
			until(ctx, "its offsets are set", func() bool {
				set, err := admin.AlterShareGroupOffsets(ctx, group, start)
				return err == nil && set.Error() == nil
			})
			franzSend(ctx, topic, numbers(90))
			one := franz(ctx, kgo.ShareGroup(group), kgo.ConsumeTopics(topic))
			two := franz(ctx, kgo.ShareGroup(group), kgo.ConsumeTopics(topic))
			var lock sync.Mutex
			accepted, deliveries := map[string]int{}, 0
			over, stop := context.WithCancel(ctx)
			var members sync.WaitGroup
			for _, member := range []*kgo.Client{one, two} {
				members.Go(func() {
					for over.Err() == nil {
						member.PollFetches(over).EachRecord(func(r *kgo.Record) {
							lock.Lock()
							defer lock.Unlock()
							deliveries++
							switch {
							case r.Value[0] == '1':
								r.Ack(kgo.AckReject)
							case r.Value[0] == '2' && r.DeliveryCount() == 1:
								r.Ack(kgo.AckRelease)
							default:
								accepted[string(r.Value)]++
								r.Ack(kgo.AckAccept)
							}
						})
						must(member.FlushAcks(ctx))
					}
				})
			}
			until(ctx, "all but the rejected are accepted", func() bool {
				lock.Lock()
				defer lock.Unlock()
				return len(accepted) == 79 && deliveries == 101
			})
			equal(len(get(admin.DescribeShareGroups(ctx, group))[group].Members), 2)
			stop()
			members.Wait()
			one.Close()
			two.Close()
			for value, times := range accepted {
				equal(times, 1, value)
			}
			until(ctx, "nothing is owed", func() bool {
				lag := int64(0)
				for _, partitions := range get(admin.DescribeShareGroupOffsets(ctx, group))[group].Offsets {
					for _, offset := range partitions {
						lag += offset.Lag
					}
				}
				return lag == 0
			})
		})
	}},

	{"the cluster, its coordinators and its directories", func(ctx context.Context) {
		withAdmin(ctx, func(admin *kadm.Client) {
			cluster := get(admin.BrokerMetadata(ctx))
			equal([]any{len(cluster.Brokers), cluster.Controller}, []any{1, cluster.Brokers[0].NodeID})
			must(get(admin.ApiVersions(ctx))[cluster.Controller].Err)
			must(admin.FindGroupCoordinators(ctx, "g").Error())
			must(admin.FindTxnCoordinators(ctx, "t").Error())
			topic := franzTopic(ctx, 3)
			until(ctx, "three partitions are there", func() bool {
				parts := 0
				get(admin.DescribeAllLogDirs(ctx, kadm.TopicsSet{topic: {0: {}, 1: {}, 2: {}}})).Each(func(dir kadm.DescribedLogDir) {
					dir.Topics.Each(func(kadm.DescribedLogDirPartition) { parts++ })
				})
				return parts == 3
			})
		})
	}},

	{users + "PLAIN and SCRAM, with TLS and without", func(ctx context.Context) {
		s := startUserServer()
		defer s.stop()
		for _, address := range []string{s.plain, s.secure} {
			for _, ann := range []sasl.Mechanism{plain.Auth{User: "ann", Pass: password}.AsMechanism(), scram.Auth{User: "ann", Pass: password}.AsSha256Mechanism(), scram.Auth{User: "ann", Pass: password}.AsSha512Mechanism()} {
				must(franzLogin(ctx, s, address, ann))
			}
			for _, ann := range []sasl.Mechanism{plain.Auth{User: "ann", Pass: "x"}.AsMechanism(), scram.Auth{User: "ann", Pass: "x"}.AsSha512Mechanism()} {
				holds(errors.Is(franzLogin(ctx, s, address, ann), kerr.SaslAuthenticationFailed), "a wrong password is right")
			}
		}
	}},

	{users + "rules and credentials are made, shown and deleted", func(ctx context.Context) {
		s := startUserServer()
		defer s.stop()
		as := func(user string) []kgo.Opt {
			return []kgo.Opt{kgo.SeedBrokers(s.secure), kgo.DialTLSConfig(s.trust), kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism())}
		}
		withAdmin(ctx, func(ann *kadm.Client) {
			topic, rule := unique("topic"), kadm.NewACLs().Allow("User:bob").AllowHosts()
			get(ann.CreateTopic(ctx, 1, 1, nil, topic))
			bob := franz(ctx, as("bob")...)
			defer bob.Close()
			send := func() error { return bob.ProduceSync(ctx, records(topic, []string{"x"})...).FirstErr() }
			holds(errors.Is(send(), kerr.TopicAuthorizationFailed), "without a rule he may write")
			rule = rule.Topics(topic).ResourcePatternType(kadm.ACLPatternLiteral).Operations(kadm.OpWrite)
			for _, made := range get(ann.CreateACLs(ctx, rule)) {
				must(made.Err)
			}
			until(ctx, "bob may write", func() bool { return send() == nil })
			equal(len(get(ann.DescribeACLs(ctx, rule))[0].Described), 1)
			equal(len(get(ann.DeleteACLs(ctx, rule))[0].Deleted), 1)
			holds(errors.Is(send(), kerr.TopicAuthorizationFailed), "without the rule he may write")

			must(get(ann.AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{User: "bob", Mechanism: kadm.ScramSha256, Iterations: 8192, Password: "another"}})).Error())
			equal(get(ann.DescribeUserSCRAMs(ctx, "bob"))["bob"].CredInfos, []kadm.CredInfo{{Mechanism: kadm.ScramSha256, Iterations: 8192}})
			must(franzLogin(ctx, s, s.secure, scram.Auth{User: "bob", Pass: "another"}.AsSha256Mechanism()))
			must(get(ann.AlterUserSCRAMs(ctx, []kadm.DeleteSCRAM{{User: "bob", Mechanism: kadm.ScramSha256}}, nil)).Error())
		}, as("ann")...)
	}},
}
