package checks

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Record is what every client can tell of one.
type Record struct {
	Key, Value, Header string
	Timestamp          time.Time
	Partition          int32
	Offset             int64
}

// HeaderName is the name of the one header that each record has.
const HeaderName = "trace"

// Client is what the standard checks need of a client.
type Client interface {
	CreateTopic(ctx context.Context, name string, partitions int) error
	// Produce stores the records by their keys and returns when they are acknowledged. The zero time means now.
	Produce(ctx context.Context, topic, codec string, records []Record) error
	// Read returns the first records of partition 0.
	Read(ctx context.Context, topic string, count int) ([]Record, error)
	// OffsetAt is the first offset of partition 0 whose record is not older, -1 if there is none.
	OffsetAt(ctx context.Context, topic string, at time.Time) (int64, error)
	// Join subscribes a new member, which calls got after it has committed the record's offset.
	Join(topic, group string, got func(Record)) (Member, error)
}

// Member is a running member of a group.
type Member interface {
	// Assigned is how many partitions it has now, -1 if the client does not tell.
	Assigned() int
	// Leave ends it; it leaves the group.
	Leave() error
}

// Standard are the checks of every client.
func Standard(client Client, codecs ...string) []Check {
	list := []Check{}
	for _, codec := range codecs {
		list = append(list, Check{"keyed " + codec + " records with headers come back in order", func(ctx context.Context) error {
			return roundTrip(ctx, client, codec)
		}})
	}
	return append(list,
		Check{"offsets are found by time", func(ctx context.Context) error { return offsetsByTime(ctx, client) }},
		Check{"two members share a topic, one leaves, a third resumes: every record once", func(ctx context.Context) error {
			return GroupOfTwo(ctx, client, client.Join)
		}})
}

// Numbered are records whose values are the numbers from first to end-1.
func Numbered(first, end int) []Record {
	records := []Record{}
	for i := first; i < end; i++ {
		records = append(records, Record{Key: fmt.Sprintf("key-%d", i%17), Value: fmt.Sprint(i), Header: fmt.Sprintf("header-%d", i)})
	}
	return records
}

func roundTrip(ctx context.Context, client Client, codec string) error {
	topic, sent := FreshName("codec"), Numbered(0, 200)
	if err := client.CreateTopic(ctx, topic, 1); err != nil {
		return err
	}
	if err := client.Produce(ctx, topic, codec, sent); err != nil {
		return err
	}
	got, err := client.Read(ctx, topic, len(sent))
	if err != nil {
		return err
	}
	if err := Equal(len(got), len(sent), "records"); err != nil {
		return err
	}
	for i, record := range got {
		wanted := sent[i]
		wanted.Offset, wanted.Timestamp = int64(i), record.Timestamp
		if err := Equal(record, wanted, "record"); err != nil {
			return err
		}
	}
	return nil
}

func offsetsByTime(ctx context.Context, client Client) error {
	topic, began := FreshName("times"), time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := client.CreateTopic(ctx, topic, 1); err != nil {
		return err
	}
	for i := range 3 {
		record := Record{Key: "k", Value: fmt.Sprint(i), Timestamp: began.Add(time.Duration(i) * time.Minute)}
		if err := client.Produce(ctx, topic, "none", []Record{record}); err != nil {
			return err
		}
	}
	for seconds, wanted := range map[int]int64{-5: 0, 0: 0, 1: 1, 60: 1, 61: 2, 120: 2} {
		got, err := client.OffsetAt(ctx, topic, began.Add(time.Duration(seconds)*time.Second))
		if err != nil {
			return err
		}
		if err := Equal(got, wanted, fmt.Sprintf("offset at %d s", seconds)); err != nil {
			return err
		}
	}
	return nil
}

// seen counts how often each value arrived.
type seen struct {
	lock  sync.Mutex
	times map[string]int
}

func (s *seen) add(record Record) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.times[record.Value]++
}

func (s *seen) distinct() int {
	s.lock.Lock()
	defer s.lock.Unlock()
	return len(s.times)
}

// onceEach is an error if any of the values came twice.
func (s *seen) onceEach() error {
	s.lock.Lock()
	defer s.lock.Unlock()
	for value, times := range s.times {
		if times != 1 {
			return fmt.Errorf("record %s came %d times", value, times)
		}
	}
	return nil
}

// GroupOfTwo is the whole life of a group: one member, a second that joins and leaves, and one that resumes.
func GroupOfTwo(ctx context.Context, client Client, join func(topic, group string, got func(Record)) (Member, error)) error {
	const partitions, portion = 4, 100
	topic, group, all := FreshName("group"), FreshName("members"), &seen{times: map[string]int{}}
	if err := client.CreateTopic(ctx, topic, partitions); err != nil {
		return err
	}
	sent := 0
	moreArrives := func(step string) error {
		if err := client.Produce(ctx, topic, "none", Numbered(sent, sent+portion)); err != nil {
			return err
		}
		sent += portion
		if err := Until(ctx, step+": all records arrived", func() bool { return all.distinct() == sent }); err != nil {
			return fmt.Errorf("%w (%d of %d)", err, all.distinct(), sent)
		}
		return all.onceEach()
	}
	has := func(member Member, count int) func() bool {
		return func() bool { return member.Assigned() == count || member.Assigned() < 0 }
	}

	first, err := join(topic, group, all.add)
	if err != nil {
		return err
	}
	if err := moreArrives("one member"); err != nil {
		return err
	}
	second, err := join(topic, group, all.add)
	if err != nil {
		return err
	}
	shared := func() bool { return has(first, partitions/2)() && has(second, partitions/2)() }
	if err := Until(ctx, "both have two partitions", shared); err != nil {
		return err
	}
	if err := moreArrives("two members"); err != nil {
		return err
	}
	if err := second.Leave(); err != nil {
		return err
	}
	if err := Until(ctx, "the first has all partitions again", has(first, partitions)); err != nil {
		return err
	}
	if err := moreArrives("one left"); err != nil {
		return err
	}
	if err := first.Leave(); err != nil {
		return err
	}
	third, err := join(topic, group, all.add)
	if err != nil {
		return err
	}
	if err := moreArrives("resumed"); err != nil {
		return err
	}
	time.Sleep(500 * time.Millisecond) // a record that comes twice would come now
	if err := all.onceEach(); err != nil {
		return err
	}
	return third.Leave()
}
