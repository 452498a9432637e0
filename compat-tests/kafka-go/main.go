// The checks of segmentio/kafka-go: writer, readers of a group, and the low-level client as admin. Its readers speak
// protocol versions that are fixed in its source, the oldest of any client here.
package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"compat/go-checks"

	"github.com/segmentio/kafka-go"
)

var codecs = map[string]kafka.Compression{
	"gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
}

var admin = &kafka.Client{Addr: kafka.TCP(checks.Address()), Timeout: 20 * time.Second}

type client struct{}

func (client) CreateTopic(ctx context.Context, name string, partitions int) error {
	created, err := admin.CreateTopics(ctx, &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{Topic: name, NumPartitions: partitions, ReplicationFactor: 1}}})
	if err != nil {
		return err
	}
	return created.Errors[name]
}

func (client) Produce(ctx context.Context, topic, codec string, records []checks.Record) error {
	writer := &kafka.Writer{Addr: kafka.TCP(checks.Address()), Topic: topic, Balancer: &kafka.Murmur2Balancer{},
		RequiredAcks: kafka.RequireAll, Compression: codecs[codec], BatchTimeout: 10 * time.Millisecond}
	messages := []kafka.Message{}
	for _, r := range records {
		messages = append(messages, kafka.Message{Key: []byte(r.Key), Value: []byte(r.Value), Time: r.Timestamp,
			Headers: []kafka.Header{{Key: checks.HeaderName, Value: []byte(r.Header)}}})
	}
	return errors.Join(writer.WriteMessages(ctx, messages...), writer.Close())
}

func told(m kafka.Message) checks.Record {
	record := checks.Record{Key: string(m.Key), Value: string(m.Value), Timestamp: m.Time, Partition: int32(m.Partition), Offset: m.Offset}
	if len(m.Headers) == 1 && m.Headers[0].Key == checks.HeaderName {
		record.Header = string(m.Headers[0].Value)
	}
	return record
}

func (client) Read(ctx context.Context, topic string, count int) ([]checks.Record, error) {
	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{checks.Address()}, Topic: topic, MaxWait: 200 * time.Millisecond})
	defer reader.Close()
	records := []checks.Record{}
	for len(records) < count {
		message, err := reader.ReadMessage(ctx)
		if err != nil {
			return nil, err
		}
		records = append(records, told(message))
	}
	return records, nil
}

func (client) OffsetAt(ctx context.Context, topic string, at time.Time) (int64, error) {
	listed, err := admin.ListOffsets(ctx, &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{topic: {kafka.TimeOffsetOf(0, at)}}})
	if err != nil {
		return 0, err
	}
	for offset := range listed.Topics[topic][0].Offsets {
		return offset, listed.Topics[topic][0].Error
	}
	return -1, listed.Topics[topic][0].Error
}

// member commits each message, then tells of it; by its client id it is found in the group's description.
type member struct {
	group, clientID string
	reader          *kafka.Reader
	reads           sync.WaitGroup
	stop            context.CancelFunc
}

func (client) Join(topic, group string, got func(checks.Record)) (checks.Member, error) {
	m := &member{group: group, clientID: checks.FreshName("member")}
	m.reader = kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{checks.Address()}, GroupID: group, Topic: topic, StartOffset: kafka.FirstOffset,
		Dialer: &kafka.Dialer{ClientID: m.clientID, Timeout: 10 * time.Second}, MaxWait: 100 * time.Millisecond,
		HeartbeatInterval: 500 * time.Millisecond, JoinGroupBackoff: 200 * time.Millisecond, ReadBackoffMax: 200 * time.Millisecond})
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	m.reads.Go(func() {
		for ctx.Err() == nil {
			message, err := m.reader.FetchMessage(ctx)
			if err == nil && m.reader.CommitMessages(context.Background(), message) == nil {
				got(told(message))
			}
		}
	})
	return m, nil
}

func describe(ctx context.Context, group string) (kafka.DescribeGroupsResponseGroup, error) {
	described, err := admin.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
	if err != nil {
		return kafka.DescribeGroupsResponseGroup{}, err
	}
	return described.Groups[0], described.Groups[0].Error
}

func (m *member) Assigned() int {
	described, err := describe(context.Background(), m.group)
	if err != nil || described.GroupState != "Stable" {
		return 0
	}
	count := 0
	for _, other := range described.Members {
		for _, topic := range other.MemberAssignments.Topics {
			if other.ClientID == m.clientID {
				count += len(topic.Partitions)
			}
		}
	}
	return count
}

func (m *member) Leave() error {
	m.stop()
	m.reads.Wait()
	return m.reader.Close()
}

func adminGroups(ctx context.Context) error {
	topic, group := checks.FreshName("admin"), checks.FreshName("described")
	if err := (client{}).CreateTopic(ctx, topic, 1); err != nil {
		return err
	}
	m, err := client{}.Join(topic, group, func(checks.Record) {})
	if err != nil {
		return err
	}
	if err := (client{}).Produce(ctx, topic, "none", checks.Numbered(0, 10)); err != nil {
		return err
	}
	committed := func() bool {
		fetched, err := admin.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: {0}}})
		return err == nil && fetched.Topics[topic][0].CommittedOffset == 10
	}
	if err := checks.Until(ctx, "its offset is committed", committed); err != nil {
		return err
	}
	if err := checks.Until(ctx, "it has its partition", func() bool { return m.Assigned() == 1 }); err != nil {
		return err
	}
	if err := m.Leave(); err != nil {
		return err
	}
	listed, err := admin.ListGroups(ctx, &kafka.ListGroupsRequest{})
	if err != nil {
		return err
	}
	for _, other := range listed.Groups {
		if other.GroupID == group {
			deleted, err := admin.DeleteGroups(ctx, &kafka.DeleteGroupsRequest{GroupIDs: []string{group}})
			return errors.Join(err, deleted.Errors[group])
		}
	}
	return errors.New("not listed")
}

func main() {
	checks.Main(append(checks.Standard(client{}, "none", "gzip", "snappy", "lz4", "zstd"),
		checks.Check{Sentence: "admin fetches offsets, lists, describes and deletes groups", Run: adminGroups}))
}
