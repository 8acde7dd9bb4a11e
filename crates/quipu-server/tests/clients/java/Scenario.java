// What the Java client of KurrentDB, io.kurrent:kurrentdb-client, sees of a server. The first argument
// is its URL, the second which part to play. Asks for a restart by a line on standard output, and waits
// for one on standard input.

import io.grpc.StatusRuntimeException;
import io.kurrent.dbclient.AppendStreamRequest;
import io.kurrent.dbclient.AppendToStreamOptions;
import io.kurrent.dbclient.CreatePersistentSubscriptionToAllOptions;
import io.kurrent.dbclient.CreatePersistentSubscriptionToStreamOptions;
import io.kurrent.dbclient.DeleteStreamOptions;
import io.kurrent.dbclient.EventData;
import io.kurrent.dbclient.KurrentDBClient;
import io.kurrent.dbclient.KurrentDBConnectionString;
import io.kurrent.dbclient.KurrentDBPersistentSubscriptionsClient;
import io.kurrent.dbclient.NackAction;
import io.kurrent.dbclient.NamedConsumerStrategy;
import io.kurrent.dbclient.PersistentSubscription;
import io.kurrent.dbclient.PersistentSubscriptionListener;
import io.kurrent.dbclient.PersistentSubscriptionToStreamInfo;
import io.kurrent.dbclient.ReadStreamOptions;
import io.kurrent.dbclient.ResolvedEvent;
import io.kurrent.dbclient.StreamDeletedException;
import io.kurrent.dbclient.StreamMetadata;
import io.kurrent.dbclient.StreamNotFoundException;
import io.kurrent.dbclient.StreamState;
import io.kurrent.dbclient.SubscribeToStreamOptions;
import io.kurrent.dbclient.Subscription;
import io.kurrent.dbclient.SubscriptionFilter;
import io.kurrent.dbclient.SubscriptionListener;
import io.kurrent.dbclient.UpdatePersistentSubscriptionToStreamOptions;
import io.kurrent.dbclient.WrongExpectedVersionException;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

public class Scenario {
    interface Call {
        CompletableFuture<?> make();
    }

    static KurrentDBClient client;

    static void check(boolean holds, Object about) {
        if (!holds) throw new AssertionError(String.valueOf(about));
    }

    static <T> T get(CompletableFuture<T> answer) throws Exception {
        return answer.get(60, TimeUnit.SECONDS);
    }

    static void refuses(Class<?> type, Call call) throws Exception {
        try {
            get(call.make());
        } catch (ExecutionException error) {
            check(type.isInstance(error.getCause()), error);
            return;
        }
        throw new AssertionError(type + " was expected");
    }

    static String name(String category) {
        return category + "-" + UUID.randomUUID();
    }

    static List<EventData> events(int count) {
        List<EventData> made = new ArrayList<>();
        for (int number = 0; number < count; number++) {
            byte[] data = ("{\"number\":" + number + "}").getBytes();
            made.add(EventData.builderAsJson("Made", data).metadataAsBytes("{\"by\":\"java\"}".getBytes()).build());
        }
        return made;
    }

    static CompletableFuture<?> append(String stream, StreamState expected, List<EventData> made) {
        return client.appendToStream(stream, AppendToStreamOptions.get().streamState(expected), made.iterator());
    }

    static List<Long> read(String stream, ReadStreamOptions options) throws Exception {
        List<Long> revisions = new ArrayList<>();
        for (ResolvedEvent event : get(client.readStream(stream, options)).getEvents()) {
            revisions.add(event.getOriginalEvent().getRevision());
        }
        return revisions;
    }

    static void appends() throws Exception {
        String stream = name("append");
        List<EventData> first = events(3);
        get(append(stream, StreamState.noStream(), first));
        get(append(stream, StreamState.noStream(), first));
        Class<?> wrong = WrongExpectedVersionException.class;
        refuses(wrong, () -> append(stream, StreamState.noStream(), events(1)));
        refuses(wrong, () -> append(stream, StreamState.streamRevision(7), events(1)));
        get(append(stream, StreamState.streamRevision(2), events(2)));
        get(append(stream, StreamState.streamExists(), events(1)));
        get(append(stream, StreamState.any(), events(1)));
        refuses(wrong, () -> append(name("absent"), StreamState.streamExists(), events(1)));
        List<Long> revisions = read(stream, ReadStreamOptions.get().forwards().fromStart());
        check(revisions.equals(List.of(0L, 1L, 2L, 3L, 4L, 5L, 6L)), revisions);
    }

    static void reads() throws Exception {
        String stream = name("read");
        get(append(stream, StreamState.any(), events(100)));
        List<Long> last = read(stream, ReadStreamOptions.get().backwards().fromEnd().maxCount(2));
        check(last.equals(List.of(99L, 98L)), last);
        List<Long> some = read(stream, ReadStreamOptions.get().forwards().fromRevision(10).maxCount(3));
        check(some.equals(List.of(10L, 11L, 12L)), some);
        refuses(StreamNotFoundException.class, () -> client.readStream(name("absent"), ReadStreamOptions.get()));
    }

    static void deletes() throws Exception {
        String stream = name("delete");
        get(append(stream, StreamState.any(), events(3)));
        DeleteStreamOptions wrong = DeleteStreamOptions.get().streamState(StreamState.streamRevision(7));
        refuses(WrongExpectedVersionException.class, () -> client.deleteStream(stream, wrong));
        get(client.deleteStream(stream));
        refuses(StreamNotFoundException.class, () -> client.readStream(stream, ReadStreamOptions.get()));
        get(append(stream, StreamState.noStream(), events(1)));
        check(read(stream, ReadStreamOptions.get()).equals(List.of(3L)), "numbering goes on");
        get(client.tombstoneStream(stream));
        refuses(StatusRuntimeException.class, () -> client.readStream(stream, ReadStreamOptions.get()));
        refuses(StreamDeletedException.class, () -> append(stream, StreamState.any(), events(1)));
    }

    static void metadata() throws Exception {
        String stream = name("metadata");
        get(append(stream, StreamState.any(), events(10)));
        StreamMetadata given = new StreamMetadata();
        given.setMaxCount(2L);
        get(client.setStreamMetadata(stream, given));
        check(get(client.getStreamMetadata(stream)).getMaxCount() == 2L, "what was set is read");
        check(read(stream, ReadStreamOptions.get()).equals(List.of(8L, 9L)), "the last two are shown");
    }

    static void manyStreams() throws Exception {
        String one = name("one");
        String two = name("two");
        List<AppendStreamRequest> requests = List.of(
            new AppendStreamRequest(one, events(2).iterator(), StreamState.noStream()),
            new AppendStreamRequest(two, events(1).iterator(), StreamState.any()));
        check(get(client.multiStreamAppend(requests.iterator())).getResults().size() == 2, "one a stream");
        List<AppendStreamRequest> wrong = List.of(
            new AppendStreamRequest(two, events(1).iterator(), StreamState.any()),
            new AppendStreamRequest(one, events(1).iterator(), StreamState.noStream()));
        refuses(WrongExpectedVersionException.class, () -> client.multiStreamAppend(wrong.iterator()));
        check(read(two, ReadStreamOptions.get()).equals(List.of(0L)), "all or nothing");
    }

    /** Takes events until there are as many as asked for. */
    static void take(KurrentDBClient own, String stream, SubscribeToStreamOptions from, List<Long> seen, int count)
        throws Exception {
        CountDownLatch enough = new CountDownLatch(count - seen.size());
        SubscriptionListener listener = new SubscriptionListener() {
            @Override
            public void onEvent(Subscription subscription, ResolvedEvent event) {
                if (enough.getCount() > 0) seen.add(event.getOriginalEvent().getRevision());
                enough.countDown();
            }
        };
        Subscription subscription = get(own.subscribeToStream(stream, listener, from));
        check(enough.await(60, TimeUnit.SECONDS), "too few events came");
        subscription.stop();
    }

    /** Asks for the server to be started again, and waits until it was. */
    static void restart() throws Exception {
        System.out.println("restart");
        String line = new BufferedReader(new InputStreamReader(System.in)).readLine();
        check(line.equals("restarted"), line);
    }

    static void subscribes(String url) throws Exception {
        String stream = name("subscribe");
        get(append(stream, StreamState.noStream(), events(3)));
        List<Long> seen = new ArrayList<>();
        take(client, stream, SubscribeToStreamOptions.get().fromStart(), seen, 3);
        restart();
        client = KurrentDBClient.create(KurrentDBConnectionString.parseOrThrow(url));
        get(append(stream, StreamState.streamRevision(2), events(2)));
        take(client, stream, SubscribeToStreamOptions.get().fromRevision(seen.get(2)), seen, 5);
        check(seen.equals(List.of(0L, 1L, 2L, 3L, 4L)), seen);
    }

    static KurrentDBPersistentSubscriptionsClient groups;

    static CreatePersistentSubscriptionToStreamOptions fromTheStart() {
        return CreatePersistentSubscriptionToStreamOptions.get().fromStart();
    }

    interface Answer {
        boolean isSo() throws Exception;
    }

    static void becomes(String what, Answer answer) throws Exception {
        for (int tries = 0; tries < 300; tries++) {
            if (answer.isSo()) return;
            Thread.sleep(100);
        }
        throw new AssertionError(what + " was expected");
    }

    static PersistentSubscriptionToStreamInfo info(String stream) throws Exception {
        return get(groups.getInfoToStream(stream, "g")).orElseThrow();
    }

    static void parked(String stream, long count) throws Exception {
        becomes(count + " parked events", () -> info(stream).getStats().getParkedMessageCount() == count);
    }

    /** An event as a consumer gets it. */
    record Given(ResolvedEvent event, int retryCount) {
        long revision() {
            return event.getOriginalEvent().getRevision();
        }
    }

    /** A consumer that is asked for its next event. */
    static class Consumer extends PersistentSubscriptionListener {
        final BlockingQueue<Given> given = new LinkedBlockingQueue<>();
        final CountDownLatch dropped = new CountDownLatch(1);
        PersistentSubscription subscription;

        Consumer join(CompletableFuture<PersistentSubscription> joining) throws Exception {
            subscription = get(joining);
            return this;
        }

        @Override
        public void onEvent(PersistentSubscription own, int retryCount, ResolvedEvent event) {
            given.add(new Given(event, retryCount));
        }

        @Override
        public void onCancelled(PersistentSubscription own, Throwable error) {
            dropped.countDown();
        }

        Given next() throws Exception {
            Given next = given.poll(60, TimeUnit.SECONDS);
            check(next != null, "no event came");
            return next;
        }
    }

    static Consumer consumer(String stream) throws Exception {
        Consumer own = new Consumer();
        return own.join(groups.subscribeToStream(stream, "g", own));
    }

    static void managesSubscriptions() throws Exception {
        String stream = name("manage");
        get(groups.createToStream(stream, "g", fromTheStart()));
        refuses(StatusRuntimeException.class, () -> groups.createToStream(stream, "g", fromTheStart()));
        check(info(stream).getEventSource().equals(stream), info(stream));
        get(groups.updateToStream(stream, "g", UpdatePersistentSubscriptionToStreamOptions.get()
            .fromStart().maxRetryCount(3).namedConsumerStrategy(NamedConsumerStrategy.PINNED)));
        check(info(stream).getSettings().getMaxRetryCount() == 3, info(stream));
        check(get(groups.listToStream(stream)).size() == 1, "one of the stream");
        check(get(groups.listAll()).stream().anyMatch(own -> own.getEventSource().equals(stream)), "one of all");
        get(groups.deleteToStream(stream, "g"));
        check(get(groups.getInfoToStream(stream, "g")).isEmpty(), "it is gone");
        refuses(StatusRuntimeException.class, () -> groups.deleteToStream(stream, "g"));
    }

    static void retriesParksAndReplays() throws Exception {
        String stream = name("park");
        get(append(stream, StreamState.noStream(), events(4)));
        get(groups.createToStream(stream, "g", fromTheStart().maxRetryCount(2)));
        Consumer own = consumer(stream);
        List<String> log = new ArrayList<>();
        while (log.size() < 6) {
            Given given = own.next();
            log.add(given.revision() + "/" + given.retryCount());
            if (given.revision() == 0) own.subscription.nack(NackAction.Retry, "again", given.event());
            else if (given.revision() == 1) own.subscription.nack(NackAction.Park, "b\u00fccher", given.event());
            else if (given.revision() == 2) own.subscription.nack(NackAction.Skip, "not for us", given.event());
            else own.subscription.ack(given.event());
        }
        log.sort(null);
        check(log.equals(List.of("0/0", "0/1", "0/2", "1/0", "2/0", "3/0")), log);
        parked(stream, 2);
        get(groups.replayParkedMessagesToStream(stream, "g"));
        for (int revision = 0; revision < 2; revision++) {
            Given given = own.next();
            check(given.revision() == revision, given);
            own.subscription.ack(given.event());
        }
        parked(stream, 0);
        own.subscription.stop();
    }

    static void limitsAndDrops() throws Exception {
        String stream = name("limit");
        get(groups.createToStream(stream, "g", fromTheStart().maxSubscriberCount(1)));
        Consumer own = consumer(stream);
        refuses(StatusRuntimeException.class, () -> groups.subscribeToStream(stream, "g", new Consumer()));
        get(groups.deleteToStream(stream, "g"));
        check(own.dropped.await(60, TimeUnit.SECONDS), "the subscription is gone");
    }

    static void filtersAll() throws Exception {
        String group = name("group");
        String category = name("filtered");
        SubscriptionFilter filter = SubscriptionFilter.newBuilder().addStreamNamePrefix(category).build();
        get(groups.createToAll(group, CreatePersistentSubscriptionToAllOptions.get().fromStart().filter(filter)));
        for (String stream : List.of(category + "-1", name("other"), category + "-2")) {
            get(append(stream, StreamState.any(), events(2)));
        }
        Consumer own = new Consumer();
        own.join(groups.subscribeToAll(group, own));
        for (int number : List.of(1, 1, 2, 2)) {
            Given given = own.next();
            check(given.event().getOriginalEvent().getStreamId().equals(category + "-" + number), given);
            own.subscription.ack(given.event());
        }
        own.subscription.stop();
        get(groups.restartSubsystem());
        get(groups.deleteToAll(group));
    }

    /** Its place is the server's to keep, across a restart too. */
    static void keepsItsPlace(String url) throws Exception {
        String stream = name("place");
        get(append(stream, StreamState.noStream(), events(6)));
        get(groups.createToStream(stream, "g", fromTheStart().checkpointLowerBound(1).checkpointAfterInMs(100)));
        Consumer before = consumer(stream);
        for (int revision = 0; revision < 4; revision++) {
            before.subscription.ack(before.next().event());
        }
        becomes("a checkpoint", () -> info(stream).getStats().getLastCheckpointedEventRevision().orElse(0L) == 3);
        restart();
        client = KurrentDBClient.create(KurrentDBConnectionString.parseOrThrow(url));
        groups = KurrentDBPersistentSubscriptionsClient.from(client);
        Consumer after = consumer(stream);
        for (int revision = 4; revision < 6; revision++) {
            Given given = after.next();
            check(given.revision() == revision, given);
            after.subscription.ack(given.event());
        }
    }

    static void persistentSubscriptions(String url) throws Exception {
        groups = KurrentDBPersistentSubscriptionsClient.from(client);
        managesSubscriptions();
        retriesParksAndReplays();
        limitsAndDrops();
        filtersAll();
        keepsItsPlace(url);
    }

    public static void main(String[] args) throws Exception {
        client = KurrentDBClient.create(KurrentDBConnectionString.parseOrThrow(args[0]));
        if (args[1].equals("plain")) {
            appends();
            reads();
            deletes();
            metadata();
            manyStreams();
            subscribes(args[0]);
        } else if (args[1].equals("persistent")) {
            persistentSubscriptions(args[0]);
        } else {
            get(append(name("secure"), StreamState.noStream(), events(2)));
        }
        System.out.println("done");
        System.exit(0);
    }
}
