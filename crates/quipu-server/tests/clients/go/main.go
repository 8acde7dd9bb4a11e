// What the Go module of KurrentDB's clients sees of a server. The first argument is its URL, the
// second which part to play. Asks for a restart by a line on standard output, and waits for one on
// standard input.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/kurrent-io/KurrentDB-Client-Go/kurrentdb"
)

func check(holds bool, what string, about ...any) {
	if !holds {
		fmt.Fprintf(os.Stderr, what+"\n", about...)
		os.Exit(1)
	}
}

func done(err error) {
	check(err == nil, "%v", err)
}

func refused(err error, code kurrentdb.ErrorCode) {
	var own *kurrentdb.Error
	check(errors.As(err, &own) && own.Code() == code, "an error of code %v was expected, not %v", code, err)
}

func name(category string) string {
	return category + "-" + uuid.NewString()
}

func events(count int) []kurrentdb.EventData {
	made := make([]kurrentdb.EventData, count)
	for number := range made {
		made[number] = kurrentdb.EventData{
			EventID:     uuid.New(),
			EventType:   "Made",
			ContentType: kurrentdb.ContentTypeJson,
			Data:        fmt.Appendf(nil, `{"number":%d}`, number),
			Metadata:    []byte(`{"by":"go"}`),
		}
	}
	return made
}

// Asks for the server to be started again, and waits until it was.
func restart() {
	fmt.Println("restart")
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	done(err)
	check(line == "restarted\n", "%q", line)
}

type scenario struct {
	context context.Context
	client  *kurrentdb.Client
}

func connect(url string) *kurrentdb.Client {
	config, err := kurrentdb.ParseConnectionString(url)
	done(err)
	config.Logger = kurrentdb.NoopLogging()
	client, err := kurrentdb.NewClient(config)
	done(err)
	return client
}

func (s scenario) append(stream string, expected kurrentdb.StreamState, made ...kurrentdb.EventData) (*kurrentdb.WriteResult, error) {
	options := kurrentdb.AppendToStreamOptions{StreamState: expected}
	return s.client.AppendToStream(s.context, stream, options, made...)
}

func (s scenario) read(stream string, options kurrentdb.ReadStreamOptions, count uint64) ([]uint64, error) {
	read, err := s.client.ReadStream(s.context, stream, options, count)
	if err != nil {
		return nil, err
	}
	defer read.Close()
	revisions := []uint64{}
	for {
		event, err := read.Recv()
		if errors.Is(err, io.EOF) {
			return revisions, nil
		}
		if err != nil {
			return nil, err
		}
		revisions = append(revisions, event.OriginalEvent().EventNumber)
	}
}

func (s scenario) appends() {
	stream := name("append")
	first := events(3)
	made, err := s.append(stream, kurrentdb.NoStream{}, first...)
	done(err)
	check(made.NextExpectedVersion == 2, "at %d", made.NextExpectedVersion)
	again, err := s.append(stream, kurrentdb.NoStream{}, first...)
	done(err)
	check(again.CommitPosition == made.CommitPosition, "a retry is the same append")
	_, err = s.append(stream, kurrentdb.NoStream{}, events(1)...)
	refused(err, kurrentdb.ErrorCodeWrongExpectedVersion)
	_, err = s.append(stream, kurrentdb.Revision(7), events(1)...)
	refused(err, kurrentdb.ErrorCodeWrongExpectedVersion)
	_, err = s.append(stream, kurrentdb.Revision(2), events(2)...)
	done(err)
	_, err = s.append(stream, kurrentdb.StreamExists{}, events(1)...)
	done(err)
	revisions, err := s.read(stream, kurrentdb.ReadStreamOptions{From: kurrentdb.Start{}}, 100)
	done(err)
	check(slices.Equal(revisions, []uint64{0, 1, 2, 3, 4, 5}), "%v", revisions)
}

func (s scenario) reads() {
	stream := name("read")
	_, err := s.append(stream, kurrentdb.NoStream{}, events(100)...)
	done(err)
	backwards := kurrentdb.ReadStreamOptions{Direction: kurrentdb.Backwards, From: kurrentdb.End{}}
	revisions, err := s.read(stream, backwards, 2)
	done(err)
	check(slices.Equal(revisions, []uint64{99, 98}), "%v", revisions)
	revisions, err = s.read(stream, kurrentdb.ReadStreamOptions{From: kurrentdb.Revision(10)}, 3)
	done(err)
	check(slices.Equal(revisions, []uint64{10, 11, 12}), "%v", revisions)
	_, err = s.read(name("absent"), kurrentdb.ReadStreamOptions{From: kurrentdb.Start{}}, 1)
	refused(err, kurrentdb.ErrorCodeResourceNotFound)
}

func (s scenario) deletes() {
	stream := name("delete")
	_, err := s.append(stream, kurrentdb.NoStream{}, events(3)...)
	done(err)
	_, err = s.client.DeleteStream(s.context, stream, kurrentdb.DeleteStreamOptions{StreamState: kurrentdb.Revision(2)})
	done(err)
	_, err = s.read(stream, kurrentdb.ReadStreamOptions{From: kurrentdb.Start{}}, 1)
	refused(err, kurrentdb.ErrorCodeResourceNotFound)
	_, err = s.append(stream, kurrentdb.Any{}, events(1)...)
	done(err)
	_, err = s.client.TombstoneStream(s.context, stream, kurrentdb.TombstoneStreamOptions{StreamState: kurrentdb.Any{}})
	done(err)
	_, err = s.read(stream, kurrentdb.ReadStreamOptions{From: kurrentdb.Start{}}, 1)
	refused(err, kurrentdb.ErrorCodeStreamDeleted)
}

func (s scenario) metadata() {
	stream := name("metadata")
	_, err := s.append(stream, kurrentdb.NoStream{}, events(10)...)
	done(err)
	given := kurrentdb.StreamMetadata{}
	given.SetMaxCount(2)
	_, err = s.client.SetStreamMetadata(s.context, stream, kurrentdb.AppendToStreamOptions{StreamState: kurrentdb.Any{}}, given)
	done(err)
	read, err := s.client.GetStreamMetadata(s.context, stream, kurrentdb.ReadStreamOptions{})
	done(err)
	check(read.MaxCount() != nil && *read.MaxCount() == 2, "%v", read)
	revisions, err := s.read(stream, kurrentdb.ReadStreamOptions{From: kurrentdb.Start{}}, 100)
	done(err)
	check(slices.Equal(revisions, []uint64{8, 9}), "%v", revisions)
}

func (s scenario) manyStreams() {
	one, two := name("one"), name("two")
	request := func(stream string, expected kurrentdb.StreamState, count int) kurrentdb.AppendStreamRequest {
		return kurrentdb.AppendStreamRequest{StreamName: stream, Events: slices.Values(events(count)), ExpectedStreamState: expected}
	}
	requests := []kurrentdb.AppendStreamRequest{request(one, kurrentdb.NoStream{}, 2), request(two, kurrentdb.Any{}, 1)}
	made, err := s.client.MultiStreamAppend(s.context, slices.Values(requests))
	done(err)
	check(len(made.Responses) == 2, "%v", made)
	wrong := []kurrentdb.AppendStreamRequest{request(two, kurrentdb.Any{}, 1), request(one, kurrentdb.NoStream{}, 1)}
	_, err = s.client.MultiStreamAppend(s.context, slices.Values(wrong))
	check(err != nil, "one expectation does not hold")
	revisions, err := s.read(two, kurrentdb.ReadStreamOptions{From: kurrentdb.Start{}}, 100)
	done(err)
	check(slices.Equal(revisions, []uint64{0}), "all or nothing: %v", revisions)
}

// Goes on from where it was after the server is started again.
func (s scenario) subscribes(url string) {
	stream := name("subscribe")
	_, err := s.append(stream, kurrentdb.NoStream{}, events(3)...)
	done(err)
	seen := []uint64{}
	take := func(client *kurrentdb.Client, from kurrentdb.StreamPosition, count int) {
		subscription, err := client.SubscribeToStream(s.context, stream, kurrentdb.SubscribeToStreamOptions{From: from})
		done(err)
		defer subscription.Close()
		for len(seen) < count {
			event := subscription.Recv()
			check(event.SubscriptionDropped == nil, "%v", event.SubscriptionDropped)
			if event.EventAppeared != nil {
				seen = append(seen, event.EventAppeared.OriginalEvent().EventNumber)
			}
		}
	}
	take(s.client, kurrentdb.Start{}, 3)
	restart()
	again := connect(url)
	_, err = again.AppendToStream(s.context, stream, kurrentdb.AppendToStreamOptions{StreamState: kurrentdb.Revision(2)}, events(2)...)
	done(err)
	take(again, kurrentdb.Revision(seen[len(seen)-1]), 5)
	check(slices.Equal(seen, []uint64{0, 1, 2, 3, 4}), "%v", seen)
	done(again.Close())
}

func main() {
	context, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	url, part := os.Args[1], os.Args[2]
	s := scenario{context, connect(url)}
	switch part {
	case "plain":
		s.appends()
		s.reads()
		s.deletes()
		s.metadata()
		s.manyStreams()
		s.subscribes(url)
	case "persistent":
		s.persistentSubscriptions(url)
	default:
		_, err := s.append(name("secure"), kurrentdb.NoStream{}, events(2)...)
		done(err)
	}
	fmt.Println("done")
}
