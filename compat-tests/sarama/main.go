// The checks of sarama: producer, eager and cooperative group consumers, static members, admin.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"sync"
	"sync/atomic"
	"time"

	"compat/go-checks"

	"github.com/IBM/sarama"
)

var codecs = map[string]sarama.CompressionCodec{
	"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
	"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
}

var brokers = []string{checks.Address()}

func newConfig() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Producer.Return.Successes = true
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	return config
}

type client struct{ admin sarama.ClusterAdmin }

func (c client) CreateTopic(_ context.Context, name string, partitions int) error {
	return c.admin.CreateTopic(name, &sarama.TopicDetail{NumPartitions: int32(partitions), ReplicationFactor: -1}, false)
}

func (c client) Produce(_ context.Context, topic, codec string, records []checks.Record) error {
	config := newConfig()
	config.Producer.Compression = codecs[codec]
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Idempotent = true
	config.Net.MaxOpenRequests = 1
	producer, err := sarama.NewSyncProducer(brokers, config)
	if err != nil {
		return err
	}
	defer producer.Close()
	messages := []*sarama.ProducerMessage{}
	for _, r := range records {
		messages = append(messages, &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder(r.Key), Value: sarama.StringEncoder(r.Value),
			Timestamp: r.Timestamp, Headers: []sarama.RecordHeader{{Key: []byte(checks.HeaderName), Value: []byte(r.Header)}}})
	}
	return producer.SendMessages(messages)
}

func told(m *sarama.ConsumerMessage) checks.Record {
	record := checks.Record{Key: string(m.Key), Value: string(m.Value), Timestamp: m.Timestamp, Partition: m.Partition, Offset: m.Offset}
	if len(m.Headers) == 1 && string(m.Headers[0].Key) == checks.HeaderName {
		record.Header = string(m.Headers[0].Value)
	}
	return record
}

func (c client) Read(ctx context.Context, topic string, count int) ([]checks.Record, error) {
	consumer, err := sarama.NewConsumer(brokers, newConfig())
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	partition, err := consumer.ConsumePartition(topic, 0, sarama.OffsetOldest)
	if err != nil {
		return nil, err
	}
	defer partition.Close()
	records := []checks.Record{}
	for len(records) < count {
		select {
		case message := <-partition.Messages():
			records = append(records, told(message))
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return records, nil
}

func (c client) OffsetAt(_ context.Context, topic string, at time.Time) (int64, error) {
	connected, err := sarama.NewClient(brokers, newConfig())
	if err != nil {
		return 0, err
	}
	defer connected.Close()
	return connected.GetOffset(topic, 0, at.UnixMilli())
}

func (c client) Join(topic, group string, got func(checks.Record)) (checks.Member, error) {
	return join(topic, group, got, newConfig())
}

// member commits the messages that are there, then tells of them.
type member struct {
	group    sarama.ConsumerGroup
	got      func(checks.Record)
	claims   atomic.Int64
	sessions sync.WaitGroup
	stop     context.CancelFunc
}

func join(topic, group string, got func(checks.Record), config *sarama.Config) (*member, error) {
	joined, err := sarama.NewConsumerGroup(brokers, group, config)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &member{group: joined, got: got, stop: stop}
	m.sessions.Go(func() {
		for ctx.Err() == nil {
			if err := joined.Consume(ctx, []string{topic}, m); err != nil {
				time.Sleep(100 * time.Millisecond)
			}
		}
	})
	return m, nil
}

func (m *member) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (m *member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	m.claims.Add(1)
	defer m.claims.Add(-1)
	waiting := []*sarama.ConsumerMessage{}
	for {
		select {
		case message, more := <-claim.Messages():
			if !more {
				return nil
			}
			waiting = append(waiting, message)
			session.MarkMessage(message, "")
			if len(claim.Messages()) > 0 {
				continue
			}
			session.Commit()
			for _, committed := range waiting {
				m.got(told(committed))
			}
			waiting = nil
		case <-session.Context().Done():
			return nil
		}
	}
}

func (m *member) Assigned() int { return int(m.claims.Load()) }

func (m *member) Leave() error {
	m.stop()
	m.sessions.Wait()
	return m.group.Close()
}

// withConfig is the standard check of a group with other settings.
func (c client) withConfig(change func(*sarama.Config)) func(context.Context) error {
	return func(ctx context.Context) error {
		return checks.GroupOfTwo(ctx, c, func(topic, group string, got func(checks.Record)) (checks.Member, error) {
			config := newConfig()
			change(config)
			return join(topic, group, got, config)
		})
	}
}

func strategies(list ...sarama.BalanceStrategy) func(*sarama.Config) {
	return func(config *sarama.Config) { config.Consumer.Group.Rebalance.GroupStrategies = list }
}

func (c client) adminGroups(ctx context.Context) error {
	topic, group := checks.FreshName("admin"), checks.FreshName("described")
	if err := c.CreateTopic(ctx, topic, 2); err != nil {
		return err
	}
	config := newConfig()
	config.Consumer.Group.InstanceId = "instance"
	m, err := join(topic, group, func(checks.Record) {}, config)
	if err != nil {
		return err
	}
	if err := checks.Until(ctx, "it has its partitions", func() bool { return m.Assigned() == 2 }); err != nil {
		return err
	}
	described, err := c.admin.DescribeConsumerGroups([]string{group})
	if err != nil {
		return err
	}
	if err := checks.Equal(fmt.Sprint(described[0].State, len(described[0].Members)), "Stable1", "state and members"); err != nil {
		return err
	}
	if err := m.Leave(); err != nil {
		return err
	}
	if _, err := c.admin.RemoveMemberFromConsumerGroup(group, []string{"instance"}); err != nil {
		return err
	}
	wanted := map[string]map[int32]sarama.OffsetAndMetadata{topic: {0: {Offset: 7}}}
	if _, err := c.admin.AlterConsumerGroupOffsets(group, wanted, nil); err != nil {
		return err
	}
	offsets, err := c.admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0}})
	if err != nil {
		return err
	}
	if err := checks.Equal(offsets.GetBlock(topic, 0).Offset, 7, "altered offset"); err != nil {
		return err
	}
	if err := c.admin.DeleteConsumerGroupOffset(group, topic, 0); err != nil {
		return err
	}
	if err := c.admin.DeleteConsumerGroup(group); err != nil {
		return err
	}
	listed, err := c.admin.ListConsumerGroups()
	if _, there := listed[group]; err == nil && there {
		return errors.New("listed after it was deleted")
	}
	return err
}

func main() {
	sarama.Logger = log.New(io.Discard, "", 0)
	admin, err := sarama.NewClusterAdmin(brokers, newConfig())
	if err != nil {
		log.Fatal(err)
	}
	c := client{admin}
	list := checks.Standard(c, "none", "gzip", "snappy", "lz4", "zstd")
	checks.Main(append(list,
		checks.Check{Sentence: "the same with the cooperative sticky strategy", Run: c.withConfig(strategies(sarama.NewBalanceStrategyCooperativeSticky()))},
		checks.Check{Sentence: "the same as a client of Kafka 1.0", Run: c.withConfig(func(config *sarama.Config) { config.Version = sarama.V1_0_0_0 })},
		checks.Check{Sentence: "admin describes groups, removes members, alters offsets and deletes", Run: c.adminGroups}))
}
