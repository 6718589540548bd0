package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"
)

func saramaConfig(changes ...func(*sarama.Config)) *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Producer.Return.Successes = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.MaxWaitTime = 100 * time.Millisecond
	config.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	for _, change := range changes {
		change(config)
	}
	return config
}

func withSaramaAdmin(work func(sarama.ClusterAdmin)) {
	admin := get(sarama.NewClusterAdmin([]string{broker}, saramaConfig()))
	defer admin.Close()
	work(admin)
}

func saramaTopic(ctx context.Context, partitions int32) string {
	topic := unique("topic")
	withSaramaAdmin(func(admin sarama.ClusterAdmin) {
		must(admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1}, false))
		until(ctx, "the topic is known", func() bool { return len(get(admin.DescribeTopics([]string{topic}))[0].Partitions) == int(partitions) })
	})
	return topic
}

func saramaMessages(topic string, values []string) []*sarama.ProducerMessage {
	made := make([]*sarama.ProducerMessage, len(values))
	for i, value := range values {
		made[i] = &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder(value), Value: sarama.StringEncoder(value)}
	}
	return made
}

func withSaramaProducer(work func(sarama.SyncProducer), changes ...func(*sarama.Config)) {
	producer := get(sarama.NewSyncProducer([]string{broker}, saramaConfig(changes...)))
	defer producer.Close()
	work(producer)
}

func saramaSend(topic string, values []string, changes ...func(*sarama.Config)) {
	withSaramaProducer(func(producer sarama.SyncProducer) { must(producer.SendMessages(saramaMessages(topic, values))) }, changes...)
}

func saramaReadFrom(ctx context.Context, topic string, offset int64, count int, changes ...func(*sarama.Config)) []*sarama.ConsumerMessage {
	consumer := get(sarama.NewConsumer([]string{broker}, saramaConfig(changes...)))
	defer consumer.Close()
	partition := get(consumer.ConsumePartition(topic, 0, offset))
	defer partition.Close()
	var got []*sarama.ConsumerMessage
	for len(got) < count {
		select {
		case message := <-partition.Messages():
			got = append(got, message)
		case <-ctx.Done():
			panic(fmt.Sprintf("%d of %d messages", len(got), count))
		}
	}
	return got
}

func saramaRead(ctx context.Context, topic string, count int, changes ...func(*sarama.Config)) []string {
	var texts []string
	for _, message := range saramaReadFrom(ctx, topic, sarama.OffsetOldest, count, changes...) {
		texts = append(texts, string(message.Value))
	}
	return texts
}

func saramaCommitted(config *sarama.Config) { config.Consumer.IsolationLevel = sarama.ReadCommitted }

func saramaTransactional(config *sarama.Config) {
	config.Producer.Idempotent = true
	config.Net.MaxOpenRequests = 1
	config.Producer.Transaction.ID = unique("id")
}

// A member of a group that notes what it gets until it is stopped. each is called with every message.
type saramaMember struct {
	group sarama.ConsumerGroup
	stop  func()
	each  func(sarama.ConsumerGroupSession, *sarama.ConsumerMessage)
	lock  sync.Mutex
	got   int
	parts map[int32]bool
}

func (m *saramaMember) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (m *saramaMember) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (m *saramaMember) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	m.note(func() { m.parts[claim.Partition()] = true })
	defer m.note(func() { delete(m.parts, claim.Partition()) })
	for message := range claim.Messages() {
		m.each(session, message)
		m.note(func() { m.got++ })
	}
	return nil
}

func (m *saramaMember) note(change func()) {
	m.lock.Lock()
	defer m.lock.Unlock()
	change()
}

func (m *saramaMember) count() (got int) {
	m.note(func() { got = m.got })
	return got
}

func (m *saramaMember) held() (held []int32) {
	m.note(func() { held = slices.Sorted(maps.Keys(m.parts)) })
	return held
}

func mark(session sarama.ConsumerGroupSession, message *sarama.ConsumerMessage) {
	session.MarkMessage(message, "")
}

func saramaJoin(ctx context.Context, group, topic string, each func(sarama.ConsumerGroupSession, *sarama.ConsumerMessage), changes ...func(*sarama.Config)) *saramaMember {
	m := &saramaMember{parts: map[int32]bool{}, each: each, group: get(sarama.NewConsumerGroup([]string{broker}, group, saramaConfig(changes...)))}
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan bool)
	go func() {
		defer close(over)
		for ctx.Err() == nil {
			_ = m.group.Consume(ctx, []string{topic}, m)
		}
	}()
	m.stop = func() {
		cancel()
		<-over
		must(m.group.Close())
	}
	return m
}

// Two members share four partitions, and what one has got and committed the other does not get.
func saramaGroup(ctx context.Context, strategy sarama.BalanceStrategy) {
	topic, group := saramaTopic(ctx, 4), unique("group")
	join := func() *saramaMember {
		return saramaJoin(ctx, group, topic, mark, func(c *sarama.Config) {
			c.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategy}
		})
	}
	saramaSend(topic, numbers(100))
	one := join()
	defer one.stop()
	until(ctx, "one gets all", func() bool { return one.count() == 100 })
	two := join()
	until(ctx, "each has two partitions", func() bool { return len(one.held()) == 2 && len(two.held()) == 2 })
	saramaSend(topic, numbers(200))
	until(ctx, "both get all", func() bool { return one.count()+two.count() >= 300 })
	equal(one.count()+two.count(), 300)
	holds(two.count() > 0, "two gets nothing")
	two.stop()
	until(ctx, "one has all partitions again", func() bool { return len(one.held()) == 4 })
}

// What sarama wants of an application that logs in by SCRAM.
type saramaScram struct {
	scram.HashGeneratorFcn
	*scram.ClientConversation
}

func (s *saramaScram) Begin(user, password, identity string) error {
	client, err := s.NewClient(user, password, identity)
	if err == nil {
		s.ClientConversation = client.NewConversation()
	}
	return err
}

func asUser(s *userServer, user, password string, mechanism sarama.SASLMechanism) func(*sarama.Config) {
	return func(c *sarama.Config) {
		c.Net.TLS.Enable, c.Net.TLS.Config = true, s.trust
		c.Net.SASL.Enable, c.Net.SASL.User, c.Net.SASL.Password, c.Net.SASL.Mechanism = true, user, password, mechanism
		c.Metadata.Retry.Max = 0
		hash := map[sarama.SASLMechanism]scram.HashGeneratorFcn{sarama.SASLTypeSCRAMSHA256: scram.SHA256, sarama.SASLTypeSCRAMSHA512: scram.SHA512}[mechanism]
		c.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &saramaScram{HashGeneratorFcn: hash} }
	}
}

var ibmSarama = []testCase{
	{"what is produced with every codec is read", func(ctx context.Context) {
		topic := saramaTopic(ctx, 1)
		var wanted []string
		for _, codec := range []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD} {
			saramaSend(topic, numbers(500), func(c *sarama.Config) { c.Producer.Compression = codec })
			wanted = append(wanted, numbers(500)...)
		}
		equal(saramaRead(ctx, topic, len(wanted)), wanted)
	}},

	{"every level of acks", func(ctx context.Context) {
		topic := saramaTopic(ctx, 1)
		for _, acks := range []sarama.RequiredAcks{sarama.NoResponse, sarama.WaitForLocal, sarama.WaitForAll} {
			saramaSend(topic, numbers(10), func(c *sarama.Config) { c.Producer.RequiredAcks = acks })
		}
		saramaRead(ctx, topic, 30)
	}},

	{"as clients of older versions of Kafka", func(ctx context.Context) {
		for _, version := range []sarama.KafkaVersion{sarama.V0_11_0_0, sarama.V1_0_0_0, sarama.V2_1_0_0, sarama.V2_8_0_0, sarama.V3_6_0_0, sarama.MaxVersion} {
			older := func(c *sarama.Config) { c.Version = version }
			topic := saramaTopic(ctx, 1)
			saramaSend(topic, numbers(10), older)
			equal(saramaRead(ctx, topic, 10, older), numbers(10), version)
			one := saramaJoin(ctx, unique("group"), topic, mark, older)
			until(ctx, version.String()+": a group reads all", func() bool { return one.count() == 10 })
			one.stop()
		}
	}},

	{"keys, headers, timestamps and nulls", func(ctx context.Context) {
		topic := saramaTopic(ctx, 1)
		withSaramaProducer(func(producer sarama.SyncProducer) {
			must(producer.SendMessages([]*sarama.ProducerMessage{{Topic: topic, Key: sarama.StringEncoder("k"), Value: sarama.StringEncoder("v"),
				Timestamp: time.UnixMilli(1234567890123), Headers: []sarama.RecordHeader{{Key: []byte("a"), Value: []byte{0, 255}}}}, {Topic: topic}}))
		})
		got := saramaReadFrom(ctx, topic, 0, 2)
		equal([]any{string(got[0].Key), *got[0].Headers[0], got[0].Timestamp.UnixMilli()}, []any{"k", sarama.RecordHeader{Key: []byte("a"), Value: []byte{0, 255}}, int64(1234567890123)})
		holds(got[1].Key == nil && got[1].Value == nil, "null is not null")
	}},

	{"an idempotent producer keeps the order over many requests", func(ctx context.Context) {
		topic := saramaTopic(ctx, 1)
		producer := get(sarama.NewAsyncProducer([]string{broker}, saramaConfig(func(c *sarama.Config) {
			c.Producer.Idempotent = true
			c.Net.MaxOpenRequests = 1
			c.Producer.Flush.MaxMessages = 20
		})))
		go func() {
			for _, message := range saramaMessages(topic, numbers(2000)) {
				producer.Input() <- message
			}
			producer.AsyncClose()
		}()
		acknowledged := 0
		for range producer.Successes() {
			acknowledged++
		}
		equal(acknowledged, 2000)
		equal(saramaRead(ctx, topic, 2000), numbers(2000))
	}},

	{"reading begins at an offset, and at a time", func(ctx context.Context) {
		topic := saramaTopic(ctx, 1)
		sent := saramaMessages(topic, numbers(10))
		for i, message := range sent {
			message.Timestamp = time.UnixMilli(int64(1700000000000 + 1000*i))
		}
		withSaramaProducer(func(producer sarama.SyncProducer) { must(producer.SendMessages(sent)) })
		equal(saramaReadFrom(ctx, topic, 7, 1)[0].Offset, int64(7))
		client := get(sarama.NewClient([]string{broker}, saramaConfig()))
		defer client.Close()
		for time, offset := range map[int64]int64{1700000003001: 4, sarama.OffsetOldest: 0, sarama.OffsetNewest: 10} {
			equal(get(client.GetOffset(topic, 0, time)), offset)
		}
	}},

	{"a group, range", func(ctx context.Context) { saramaGroup(ctx, sarama.NewBalanceStrategyRange()) }},
	{"a group, round robin", func(ctx context.Context) { saramaGroup(ctx, sarama.NewBalanceStrategyRoundRobin()) }},
	{"a group, sticky", func(ctx context.Context) { saramaGroup(ctx, sarama.NewBalanceStrategySticky()) }},
	{"a group, cooperative", func(ctx context.Context) { saramaGroup(ctx, sarama.NewBalanceStrategyCooperativeSticky()) }},

	{"a static member comes back to what it had", func(ctx context.Context) {
		topic, group := saramaTopic(ctx, 4), unique("group")
		join := func(name string) *saramaMember {
			return saramaJoin(ctx, group, topic, mark, func(c *sarama.Config) { c.Consumer.Group.InstanceId = name })
		}
		one, two := join("one"), join("two")
		defer two.stop()
		until(ctx, "each has two partitions", func() bool { return len(one.held()) == 2 && len(two.held()) == 2 })
		had := one.held()
		one.stop() // a static member does not leave
		again := join("one")
		until(ctx, "it has its partitions again", func() bool { return len(again.held()) == 2 })
		equal(again.held(), had)
		again.stop()
		withSaramaAdmin(func(admin sarama.ClusterAdmin) {
			equal(get(admin.RemoveMemberFromConsumerGroup(group, []string{"one"})).Err, sarama.ErrNoError)
		})
		until(ctx, "the other one has all", func() bool { return len(two.held()) == 4 })
	}},

	{"committed transactions are seen and aborted ones not", func(ctx context.Context) {
		topic := saramaTopic(ctx, 1)
		withSaramaProducer(func(producer sarama.SyncProducer) {
			for i := range 4 {
				must(producer.BeginTxn())
				must(producer.SendMessages(saramaMessages(topic, []string{fmt.Sprint(i)})))
				if i%2 == 0 {
					must(producer.CommitTxn())
				} else {
					must(producer.AbortTxn())
				}
			}
		}, saramaTransactional)
		saramaSend(topic, []string{"end"})
		equal(saramaRead(ctx, topic, 3, saramaCommitted), []string{"0", "2", "end"})
		equal(len(saramaRead(ctx, topic, 5)), 5)
	}},

	{"offsets are part of a transaction", func(ctx context.Context) {
		from, to, group := saramaTopic(ctx, 2), saramaTopic(ctx, 1), unique("group")
		saramaSend(from, numbers(200))
		withSaramaProducer(func(producer sarama.SyncProducer) {
			var one sync.Mutex // the partitions share the producer
			worker := saramaJoin(ctx, group, from, func(session sarama.ConsumerGroupSession, m *sarama.ConsumerMessage) {
				one.Lock()
				defer one.Unlock()
				must(producer.BeginTxn())
				must(producer.SendMessages(saramaMessages(to, []string{string(m.Value)})))
				must(producer.AddMessageToTxn(m, group, nil))
				must(producer.CommitTxn())
			}, func(c *sarama.Config) { c.Consumer.Offsets.AutoCommit.Enable = false }, saramaCommitted)
			got := saramaRead(ctx, to, 200, saramaCommitted)
			worker.stop()
			equal(sorted(got), sorted(numbers(200)))
		}, saramaTransactional)
		withSaramaAdmin(func(admin sarama.ClusterAdmin) {
			total := int64(0)
			for _, block := range get(admin.ListConsumerGroupOffsets(group, map[string][]int32{from: {0, 1}})).Blocks[from] {
				total += block.Offset
			}
			equal(total, int64(200))
		})
	}},

	{"transactions are listed and described", func(ctx context.Context) {
		topic, id := saramaTopic(ctx, 1), unique("id")
		withSaramaProducer(func(producer sarama.SyncProducer) {
			must(producer.BeginTxn())
			must(producer.SendMessages(saramaMessages(topic, numbers(3))))
			withSaramaAdmin(func(all sarama.ClusterAdmin) {
				admin := all.(sarama.TransactionClusterAdmin)
				equal(get(admin.DescribeTransactions([]string{id}))[id].TransactionState, "Ongoing")
				holds(slices.ContainsFunc(get(admin.ListTransactions([]string{"Ongoing"}, nil, -1)),
					func(one sarama.ListTransactionsResponseTransactionState) bool { return one.TransactionalID == id }), "it is not listed")
				equal(len(get(admin.DescribeProducers(map[string][]int32{topic: {0}}))[topic][0].ActiveProducers), 1)
			})
			must(producer.AbortTxn())
		}, saramaTransactional, func(c *sarama.Config) { c.Producer.Transaction.ID = id })
	}},

	{"topics are made, grown, described and deleted", func(ctx context.Context) {
		withSaramaAdmin(func(admin sarama.ClusterAdmin) {
			topic, value := unique("topic"), "1000000"
			detail := &sarama.TopicDetail{NumPartitions: 2, ReplicationFactor: 1, ConfigEntries: map[string]*string{"retention.ms": &value}}
			must(admin.CreateTopic(topic, detail, true))
			must(admin.CreateTopic(topic, detail, false))
			holds(errors.Is(admin.CreateTopic(topic, detail, false), sarama.ErrTopicAlreadyExists), "it is made twice")
			must(admin.CreatePartitions(topic, 5, nil, false))
			until(ctx, "it has grown", func() bool { return len(get(admin.DescribeTopics([]string{topic}))[0].Partitions) == 5 })
			equal(*get(admin.ListTopics())[topic].ConfigEntries["retention.ms"], value)
			must(admin.DeleteTopic(topic))
			until(ctx, "it is gone", func() bool {
				_, there := get(admin.ListTopics())[topic]
				return !there
			})
		})
	}},

	{"configurations are altered one by one, and together", func(ctx context.Context) {
		topic, day, compact := saramaTopic(ctx, 1), "86400000", "compact"
		withSaramaAdmin(func(admin sarama.ClusterAdmin) {
			are := func(wanted ...string) {
				until(ctx, fmt.Sprint(wanted, " are in force"), func() bool {
					var found []string
					for _, name := range []string{"retention.ms", "cleanup.policy"} {
						entries := get(admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic, ConfigNames: []string{name}}))
						found = append(found, entries[0].Value)
					}
					return slices.Equal(found, wanted)
				})
			}
			must(admin.IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{
				"retention.ms":   {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &day},
				"cleanup.policy": {Operation: sarama.IncrementalAlterConfigsOperationAppend, Value: &compact}}, false))
			are(day, "delete,compact")
			must(admin.AlterConfig(sarama.TopicResource, topic, map[string]*string{"cleanup.policy": &compact}, false))
			are("604800000", compact)
		})
	}},

	{"offsets of topics and groups, and records are deleted", func(ctx context.Context) {
		topic, group := saramaTopic(ctx, 1), unique("group")
		saramaSend(topic, numbers(10))
		withSaramaAdmin(func(admin sarama.ClusterAdmin) {
			offset := func(spec int64) int64 {
				return get(admin.ListOffsets(map[string]map[int32]int64{topic: {0: spec}}, nil))[topic][0].Offset
			}
			must(admin.DeleteRecords(topic, map[int32]int64{0: 6}))
			equal([]int64{offset(sarama.OffsetOldest), offset(sarama.OffsetNewest)}, []int64{6, 10})
			get(admin.AlterConsumerGroupOffsets(group, map[string]map[int32]sarama.OffsetAndMetadata{topic: {0: {Offset: 8, LeaderEpoch: -1}}}, nil))
			one := saramaJoin(ctx, group, topic, mark)
			until(ctx, "the rest is read", func() bool { return one.count() == 2 })
			groups := get(admin.DescribeConsumerGroups([]string{group}))
			equal([]any{groups[0].State, groups[0].Protocol, len(groups[0].Members)}, []any{"Stable", "range", 1})
			one.stop()
			equal(get(admin.ListConsumerGroups())[group], "consumer")
			equal(get(admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0}})).Blocks[topic][0].Offset, int64(10))
			must(admin.DeleteConsumerGroupOffset(group, topic, 0))
			must(admin.DeleteConsumerGroup(group))
		})
	}},

	{"the cluster and its directories", func(ctx context.Context) {
		topic := saramaTopic(ctx, 3)
		withSaramaAdmin(func(admin sarama.ClusterAdmin) {
			brokers, controller, err := admin.DescribeCluster()
			must(err)
			equal([]any{len(brokers), brokers[0].ID()}, []any{1, controller})
			until(ctx, "three partitions are there", func() bool {
				parts := 0
				for _, dir := range get(admin.DescribeLogDirs([]int32{controller}))[controller] {
					for _, one := range dir.Topics {
						if one.Topic == topic {
							parts += len(one.Partitions)
						}
					}
				}
				return parts == 3
			})
			_, err = admin.UpdateFeatures([]sarama.FeatureUpdate{{Feature: "nobody.knows.it", MaxVersionLevel: 1}})
			holds(errors.Is(err, sarama.ErrInvalidUpdateVersion), "a feature that nobody knows is updated")
		})
	}},

	{users + "PLAIN and SCRAM with TLS, rules and credentials", func(ctx context.Context) {
		s := startUserServer()
		defer s.stop()
		for _, mechanism := range []sarama.SASLMechanism{sarama.SASLTypePlaintext, sarama.SASLTypeSCRAMSHA256, sarama.SASLTypeSCRAMSHA512} {
			client := get(sarama.NewClient([]string{s.secure}, saramaConfig(asUser(s, "ann", password, mechanism))))
			must(client.Close())
			_, err := sarama.NewClient([]string{s.secure}, saramaConfig(asUser(s, "ann", "x", mechanism)))
			holds(err != nil, "a wrong password is right")
		}
		admin := get(sarama.NewClusterAdmin([]string{s.secure}, saramaConfig(asUser(s, "ann", password, sarama.SASLTypeSCRAMSHA512))))
		defer admin.Close()
		topic, all := unique("topic"), "User:bob"
		must(admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false))
		bob := get(sarama.NewSyncProducer([]string{s.secure}, saramaConfig(asUser(s, "bob", password, sarama.SASLTypePlaintext))))
		defer bob.Close()
		send := func() error { return bob.SendMessages(saramaMessages(topic, []string{"x"})) }
		holds(send() != nil, "without a rule he may write")
		must(admin.CreateACL(sarama.Resource{ResourceType: sarama.AclResourceTopic, ResourceName: topic, ResourcePatternType: sarama.AclPatternLiteral},
			sarama.Acl{Principal: all, Host: "*", Operation: sarama.AclOperationWrite, PermissionType: sarama.AclPermissionAllow}))
		until(ctx, "bob may write", func() bool { return send() == nil })
		filter := sarama.AclFilter{ResourceType: sarama.AclResourceTopic, ResourceName: &topic, ResourcePatternTypeFilter: sarama.AclPatternLiteral, Principal: &all,
			Operation: sarama.AclOperationWrite, PermissionType: sarama.AclPermissionAllow}
		equal(len(get(admin.ListAcls(filter))), 1)
		equal(len(get(admin.DeleteACL(filter, false))), 1)
		holds(send() != nil, "without the rule he may write")

		for _, altered := range get(admin.UpsertUserScramCredentials([]sarama.AlterUserScramCredentialsUpsert{
			{Name: "bob", Mechanism: sarama.SCRAM_MECHANISM_SHA_512, Iterations: 8192, Salt: []byte("salt"), Password: []byte("another")}})) {
			equal(altered.ErrorCode, sarama.ErrNoError)
		}
		equal(get(admin.DescribeUserScramCredentials([]string{"bob"}))[0].CredentialInfos[0].Iterations, int32(8192))
		client := get(sarama.NewClient([]string{s.secure}, saramaConfig(asUser(s, "bob", "another", sarama.SASLTypeSCRAMSHA512))))
		must(client.Close())
	}},
}
