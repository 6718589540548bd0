package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

var segmentio = &kafka.Client{Addr: kafka.TCP(broker), Transport: &kafka.Transport{MetadataTTL: 50 * time.Millisecond}}

func segmentioTopic(ctx context.Context, partitions int) string {
	topic := unique("topic")
	made := get(segmentio.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1}}}))
	must(made.Errors[topic])
	until(ctx, "the topic is known", func() bool {
		known := get(segmentio.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}}))
		return len(known.Topics) == 1 && len(known.Topics[0].Partitions) == partitions
	})
	return topic
}

func segmentioMessages(values []string) []kafka.Message {
	made := make([]kafka.Message, len(values))
	for i, value := range values {
		made[i] = kafka.Message{Key: []byte(value), Value: []byte(value)}
	}
	return made
}

func segmentioSend(ctx context.Context, topic string, messages []kafka.Message, changes ...func(*kafka.Writer)) {
	writer := &kafka.Writer{Addr: kafka.TCP(broker), Transport: segmentio.Transport, Topic: topic, RequiredAcks: kafka.RequireAll, BatchTimeout: time.Millisecond, Balancer: &kafka.RoundRobin{}}
	for _, change := range changes {
		change(writer)
	}
	must(writer.WriteMessages(ctx, messages...))
	must(writer.Close())
}

func segmentioReader(topic string, changes ...func(*kafka.ReaderConfig)) *kafka.Reader {
	config := kafka.ReaderConfig{Brokers: []string{broker}, Topic: topic, MaxWait: 100 * time.Millisecond, HeartbeatInterval: 300 * time.Millisecond,
		StartOffset: kafka.FirstOffset, JoinGroupBackoff: 100 * time.Millisecond}
	for _, change := range changes {
		change(&config)
	}
	return kafka.NewReader(config)
}

func segmentioRead(ctx context.Context, reader *kafka.Reader, count int) []string {
	var texts []string
	for len(texts) < count {
		texts = append(texts, string(get(reader.ReadMessage(ctx)).Value))
	}
	return texts
}

var kafkaGo = []testCase{
	{"what is produced with every codec is read", func(ctx context.Context) {
		topic := segmentioTopic(ctx, 1)
		var wanted []string
		for _, codec := range []kafka.Compression{0, kafka.Gzip, kafka.Snappy, kafka.Lz4, kafka.Zstd} {
			segmentioSend(ctx, topic, segmentioMessages(numbers(500)), func(w *kafka.Writer) { w.Compression, w.BatchSize = codec, 500 })
			wanted = append(wanted, numbers(500)...)
		}
		reader := segmentioReader(topic)
		defer reader.Close()
		equal(segmentioRead(ctx, reader, len(wanted)), wanted)
	}},

	{"every level of acks", func(ctx context.Context) {
		topic := segmentioTopic(ctx, 1)
		for _, acks := range []kafka.RequiredAcks{kafka.RequireNone, kafka.RequireOne, kafka.RequireAll} {
			segmentioSend(ctx, topic, segmentioMessages(numbers(10)), func(w *kafka.Writer) { w.RequiredAcks = acks })
		}
		reader := segmentioReader(topic)
		defer reader.Close()
		segmentioRead(ctx, reader, 30)
	}},

	{"keys, headers, timestamps and nulls", func(ctx context.Context) {
		topic, at := segmentioTopic(ctx, 1), time.UnixMilli(1234567890123)
		segmentioSend(ctx, topic, []kafka.Message{{Key: []byte("k"), Value: []byte("v"), Time: at, Headers: []kafka.Header{{Key: "a", Value: []byte{0, 255}}}}, {}})
		reader := segmentioReader(topic)
		defer reader.Close()
		got := get(reader.ReadMessage(ctx))
		equal([]any{string(got.Key), got.Headers, got.Time.UnixMilli()}, []any{"k", []kafka.Header{{Key: "a", Value: []byte{0, 255}}}, at.UnixMilli()})
		equal(len(get(reader.ReadMessage(ctx)).Value), 0)
	}},

	{"reading begins at an offset, and at a time", func(ctx context.Context) {
		topic := segmentioTopic(ctx, 1)
		messages := segmentioMessages(numbers(10))
		for i := range messages {
			messages[i].Time = time.UnixMilli(int64(1700000000000 + 1000*i))
		}
		segmentioSend(ctx, topic, messages)
		reader := segmentioReader(topic)
		defer reader.Close()
		must(reader.SetOffset(7))
		equal(segmentioRead(ctx, reader, 3), numbers(10)[7:])
		must(reader.SetOffsetAt(ctx, time.UnixMilli(1700000003001)))
		equal(segmentioRead(ctx, reader, 6), numbers(10)[4:])
		listed := get(segmentio.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: {kafka.FirstOffsetOf(0), kafka.LastOffsetOf(0)}}}))
		equal([]int64{listed.Topics[topic][0].FirstOffset, listed.Topics[topic][0].LastOffset}, []int64{0, 10})
	}},

	{"a group shares partitions and continues where it committed", func(ctx context.Context) {
		topic, group := segmentioTopic(ctx, 4), unique("group")
		asMember := func(c *kafka.ReaderConfig) { c.GroupID = group }
		var lock sync.Mutex
		got := map[string]int{}
		join := func() (*kafka.Reader, func()) {
			reader := segmentioReader(topic, asMember)
			var over sync.WaitGroup
			over.Go(func() {
				for {
					message, err := reader.ReadMessage(ctx)
					if errors.Is(err, io.EOF) || ctx.Err() != nil {
						return
					}
					if err != nil { // Apache Kafka has no coordinator yet
						continue
					}
					lock.Lock()
					got[string(message.Value)]++
					lock.Unlock()
				}
			})
			return reader, func() {
				must(reader.Close())
				over.Wait()
			}
		}
		count := func(wanted int) func() bool {
			return func() bool {
				lock.Lock()
				defer lock.Unlock()
				return len(got) == wanted
			}
		}
		members := func() int {
			described := get(segmentio.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}}))
			if described.Groups[0].GroupState != "Stable" {
				return 0
			}
			return len(described.Groups[0].Members)
		}
		segmentioSend(ctx, topic, segmentioMessages(numbers(100)))
		_, stopOne := join()
		until(ctx, "one gets all", count(100))
		two, stopTwo := join()
		until(ctx, "there are two members", func() bool { return members() == 2 })
		segmentioSend(ctx, topic, segmentioMessages(numbers(300)[100:]))
		until(ctx, "both get all", count(300))
		holds(two.Stats().Messages > 0, "two gets nothing")
		stopTwo()
		stopOne()
		segmentioSend(ctx, topic, segmentioMessages([]string{"new"}))
		again := segmentioReader(topic, asMember)
		defer again.Close()
		equal(segmentioRead(ctx, again, 1), []string{"new"})
	}},

	{"topics, groups, configurations and offsets are administered", func(ctx context.Context) {
		topic, group := segmentioTopic(ctx, 1), unique("group")
		grown := get(segmentio.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: 3}}}))
		must(grown.Errors[topic])
		altered := get(segmentio.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{Resources: []kafka.IncrementalAlterConfigsRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, Configs: []kafka.IncrementalAlterConfigsRequestConfig{{Name: "retention.ms", Value: "1000", ConfigOperation: kafka.ConfigOperationSet}}}}}))
		must(altered.Resources[0].Error)
		until(ctx, "the configuration is in force", func() bool {
			described := get(segmentio.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, ConfigNames: []string{"retention.ms"}}}}))
			return described.Resources[0].ConfigEntries[0].ConfigValue == "1000"
		})
		until(ctx, "an offset is committed", func() bool {
			done, err := segmentio.OffsetCommit(ctx, &kafka.OffsetCommitRequest{GroupID: group, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{topic: {{Partition: 2, Offset: 5}}}})
			return err == nil && done.Topics[topic][0].Error == nil
		})
		fetched := get(segmentio.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: {2}}}))
		equal(fetched.Topics[topic][0].CommittedOffset, int64(5))
		must(get(segmentio.DeleteGroups(ctx, &kafka.DeleteGroupsRequest{GroupIDs: []string{group}})).Errors[group])
		must(get(segmentio.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{topic}})).Errors[topic])
	}},

	{"transactions, request by request", func(ctx context.Context) {
		id := unique("id")
		var begun *kafka.InitProducerIDResponse
		until(ctx, "there is a coordinator", func() bool {
			var err error
			begun, err = segmentio.InitProducerID(ctx, &kafka.InitProducerIDRequest{TransactionalID: id, TransactionTimeoutMs: 10000})
			return err == nil && begun.Error == nil
		})
		topic := segmentioTopic(ctx, 1)
		added := get(segmentio.AddPartitionsToTxn(ctx, &kafka.AddPartitionsToTxnRequest{TransactionalID: id, ProducerID: begun.Producer.ProducerID,
			ProducerEpoch: begun.Producer.ProducerEpoch, Topics: map[string][]kafka.AddPartitionToTxn{topic: {{Partition: 0}}}}))
		must(added.Topics[topic][0].Error)
		ended := get(segmentio.EndTxn(ctx, &kafka.EndTxnRequest{TransactionalID: id, ProducerID: begun.Producer.ProducerID, ProducerEpoch: begun.Producer.ProducerEpoch}))
		must(ended.Error)
	}},

	{users + "PLAIN and SCRAM with TLS", func(ctx context.Context) {
		s := startUserServer()
		defer s.stop()
		for _, right := range []string{password, "x"} {
			for _, mechanism := range []sasl.Mechanism{plain.Mechanism{Username: "ann", Password: right}, get(scram.Mechanism(scram.SHA256, "ann", right)), get(scram.Mechanism(scram.SHA512, "ann", right))} {
				for address, trust := range map[string]*tls.Config{s.plain: nil, s.secure: s.trust} {
					client := &kafka.Client{Addr: kafka.TCP(address), Transport: &kafka.Transport{SASL: mechanism, TLS: trust}}
					_, err := client.Metadata(ctx, &kafka.MetadataRequest{})
					if right == password {
						must(err)
					} else {
						holds(errors.Is(err, kafka.SASLAuthenticationFailed), fmt.Sprint("a wrong password is right: ", err))
					}
				}
			}
		}
	}},
}
