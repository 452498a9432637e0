package main

import (
	"context"
	"fmt"
	"slices"

	"compat/go-checks"

	"github.com/twmb/franz-go/pkg/kadm"
)

// adminGroups looks at a group while it has a member, then alters its offsets and deletes it.
func adminGroups(ctx context.Context, c client) error {
	topic, group := checks.FreshName("admin"), checks.FreshName("described")
	if err := c.CreateTopic(ctx, topic, 2); err != nil {
		return err
	}
	m, err := join(topic, group, func(checks.Record) {})
	if err != nil {
		return err
	}
	if err := checks.Until(ctx, "the member has its partitions", func() bool { return m.Assigned() == 2 }); err != nil {
		return err
	}
	listed, err := c.admin.ListGroups(ctx)
	if err != nil {
		return err
	}
	if !slices.Contains(listed.Groups(), group) {
		return fmt.Errorf("%s is not among %v", group, listed.Groups())
	}
	described, err := c.admin.DescribeGroups(ctx, group)
	if err != nil {
		return err
	}
	if err := checks.Equal(described[group].State, "Stable", "state"); err != nil {
		return err
	}
	if err := checks.Equal(len(described[group].Members), 1, "members"); err != nil {
		return err
	}
	refused, err := c.admin.DeleteGroup(ctx, group)
	if err == nil && refused.Err == nil {
		return fmt.Errorf("a group with a member was deleted")
	}
	if err := m.Leave(); err != nil {
		return err
	}
	offsets := kadm.Offsets{}
	offsets.AddOffset(topic, 0, 7, -1)
	if err := c.admin.CommitAllOffsets(ctx, group, offsets); err != nil {
		return err
	}
	fetched, err := c.admin.FetchOffsets(ctx, group)
	if err != nil {
		return err
	}
	committed, _ := fetched.Lookup(topic, 0)
	if err := checks.Equal(committed.At, 7, "committed offset"); err != nil {
		return err
	}
	deleted, err := c.admin.DeleteGroup(ctx, group)
	if err != nil {
		return err
	}
	return deleted.Err
}
