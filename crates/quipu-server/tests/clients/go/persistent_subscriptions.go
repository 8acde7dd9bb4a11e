package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kurrent-io/KurrentDB-Client-Go/kurrentdb"
)

const group = "g"

func fromStart(change func(*kurrentdb.PersistentSubscriptionSettings)) kurrentdb.PersistentStreamSubscriptionOptions {
	settings := kurrentdb.SubscriptionSettingsDefault()
	if change != nil {
		change(&settings)
	}
	return kurrentdb.PersistentStreamSubscriptionOptions{Settings: &settings, StartFrom: kurrentdb.Start{}}
}

func becomes(what string, isSo func() bool) {
	for range 300 {
		if isSo() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	check(false, "%s was expected", what)
}

func (s scenario) create(stream string, options kurrentdb.PersistentStreamSubscriptionOptions) error {
	return s.client.CreatePersistentSubscription(s.context, stream, group, options)
}

func (s scenario) remove(stream string) error {
	return s.client.DeletePersistentSubscription(s.context, stream, group, kurrentdb.DeletePersistentSubscriptionOptions{})
}

func (s scenario) info(stream string) (*kurrentdb.PersistentSubscriptionInfo, error) {
	return s.client.GetPersistentSubscriptionInfo(s.context, stream, group, kurrentdb.GetPersistentSubscriptionOptions{})
}

func (s scenario) join(stream string) (*kurrentdb.PersistentSubscription, error) {
	return s.client.SubscribeToPersistentSubscription(s.context, stream, group, kurrentdb.SubscribeToPersistentSubscriptionOptions{})
}

func (s scenario) replay(stream string) error {
	return s.client.ReplayParkedMessages(s.context, stream, group, kurrentdb.ReplayParkedMessagesOptions{})
}

func (s scenario) parked(stream string, count int64) {
	becomes(fmt.Sprintf("%d parked events", count), func() bool {
		info, err := s.info(stream)
		done(err)
		return info.Stats.ParkedMessagesCount == count
	})
}

// Waits for the next event; for the reason where the subscription was dropped.
func next(subscription *kurrentdb.PersistentSubscription) (*kurrentdb.EventAppeared, error) {
	for {
		event := subscription.Recv()
		if event.SubscriptionDropped != nil {
			return nil, event.SubscriptionDropped.Error
		}
		if event.EventAppeared != nil {
			return event.EventAppeared, nil
		}
	}
}

func (s scenario) managesSubscriptions() {
	stream := name("manage")
	done(s.create(stream, fromStart(nil)))
	refused(s.create(stream, fromStart(nil)), kurrentdb.ErrorCodeResourceAlreadyExists)
	info, err := s.info(stream)
	done(err)
	check(info.EventSource == stream && info.GroupName == group, "%v", info)
	changed := fromStart(func(own *kurrentdb.PersistentSubscriptionSettings) { own.MaxRetryCount = 3 })
	done(s.client.UpdatePersistentSubscription(s.context, stream, group, changed))
	listed, err := s.client.ListPersistentSubscriptionsForStream(s.context, stream, kurrentdb.ListPersistentSubscriptionsOptions{})
	done(err)
	check(len(listed) == 1 && listed[0].Settings.MaxRetryCount == 3, "%v", listed)
	all, err := s.client.ListAllPersistentSubscriptions(s.context, kurrentdb.ListPersistentSubscriptionsOptions{})
	done(err)
	isThere := slices.ContainsFunc(all, func(own kurrentdb.PersistentSubscriptionInfo) bool { return own.EventSource == stream })
	check(isThere, "%v", all)
	done(s.remove(stream))
	refused(s.remove(stream), kurrentdb.ErrorCodeResourceNotFound)
	_, err = s.info(stream)
	refused(err, kurrentdb.ErrorCodeResourceNotFound)
	refused(s.replay(stream), kurrentdb.ErrorCodeResourceNotFound)
}

func (s scenario) retriesParksAndReplays() {
	stream := name("park")
	_, err := s.append(stream, kurrentdb.NoStream{}, events(4)...)
	done(err)
	done(s.create(stream, fromStart(func(own *kurrentdb.PersistentSubscriptionSettings) { own.MaxRetryCount = 2 })))
	subscription, err := s.join(stream)
	done(err)
	defer subscription.Close()
	log := []string{}
	for len(log) < 6 {
		event, err := next(subscription)
		done(err)
		revision := event.Event.OriginalEvent().EventNumber
		log = append(log, fmt.Sprintf("%d/%d", revision, event.RetryCount))
		switch revision {
		case 0:
			done(subscription.Nack("again", kurrentdb.NackActionRetry, event.Event))
		case 1:
			done(subscription.Nack("bücher", kurrentdb.NackActionPark, event.Event))
		case 2:
			done(subscription.Nack("not for us", kurrentdb.NackActionSkip, event.Event))
		default:
			done(subscription.Ack(event.Event))
		}
	}
	slices.Sort(log)
	check(slices.Equal(log, []string{"0/0", "0/1", "0/2", "1/0", "2/0", "3/0"}), "%v", log)
	s.parked(stream, 2)
	done(s.replay(stream))
	for revision := range uint64(2) {
		event, err := next(subscription)
		done(err)
		check(event.Event.OriginalEvent().EventNumber == revision, "%v", event.Event)
		done(subscription.Ack(event.Event))
	}
	s.parked(stream, 0)
}

func (s scenario) limitsAndDrops() {
	stream := name("limit")
	done(s.create(stream, fromStart(func(own *kurrentdb.PersistentSubscriptionSettings) { own.MaxSubscriberCount = 1 })))
	first, err := s.join(stream)
	done(err)
	defer first.Close()
	_, err = s.join(stream)
	check(err != nil, "one consumer was the most")
	done(s.remove(stream))
	_, err = next(first)
	check(err != nil, "the subscription is gone")
}

func (s scenario) filtersAll() {
	own, category := name("group"), name("filtered")
	options := kurrentdb.PersistentAllSubscriptionOptions{
		StartFrom: kurrentdb.Start{},
		Filter:    &kurrentdb.SubscriptionFilter{Type: kurrentdb.StreamFilterType, Prefixes: []string{category}},
	}
	done(s.client.CreatePersistentSubscriptionToAll(s.context, own, options))
	for _, stream := range []string{category + "-1", name("other"), category + "-2"} {
		_, err := s.append(stream, kurrentdb.Any{}, events(2)...)
		done(err)
	}
	subscription, err := s.client.SubscribeToPersistentSubscriptionToAll(s.context, own, kurrentdb.SubscribeToPersistentSubscriptionOptions{})
	done(err)
	seen := []string{}
	for len(seen) < 4 {
		event, err := next(subscription)
		done(err)
		seen = append(seen, strings.TrimPrefix(event.Event.OriginalEvent().StreamID, category))
		done(subscription.Ack(event.Event))
	}
	check(slices.Equal(seen, []string{"-1", "-1", "-2", "-2"}), "%v", seen)
	done(subscription.Close())
	done(s.client.RestartPersistentSubscriptionSubsystem(s.context, kurrentdb.RestartPersistentSubscriptionSubsystemOptions{}))
	done(s.client.DeletePersistentSubscriptionToAll(s.context, own, kurrentdb.DeletePersistentSubscriptionOptions{}))
}

// Its place is the server's to keep, across a restart too.
func (s scenario) keepsItsPlace(url string) {
	stream := name("place")
	_, err := s.append(stream, kurrentdb.NoStream{}, events(6)...)
	done(err)
	done(s.create(stream, fromStart(func(own *kurrentdb.PersistentSubscriptionSettings) {
		own.CheckpointLowerBound = 1
		own.CheckpointAfter = 100
	})))
	take := func(own scenario, count int) (seen []uint64) {
		subscription, err := own.join(stream)
		done(err)
		for range count {
			event, err := next(subscription)
			done(err)
			seen = append(seen, event.Event.OriginalEvent().EventNumber)
			done(subscription.Ack(event.Event))
		}
		return seen
	}
	seen := take(s, 4)
	becomes("a checkpoint", func() bool {
		info, err := s.info(stream)
		done(err)
		return info.Stats.LastCheckpointedEventRevision != nil && *info.Stats.LastCheckpointedEventRevision == 3
	})
	restart()
	again := scenario{s.context, connect(url)}
	seen = append(seen, take(again, 2)...)
	check(slices.Equal(seen, []uint64{0, 1, 2, 3, 4, 5}), "%v", seen)
}

func (s scenario) persistentSubscriptions(url string) {
	s.managesSubscriptions()
	s.retriesParksAndReplays()
	s.limitsAndDrops()
	s.filtersAll()
	s.keepsItsPlace(url)
}
