// What the Java client of KurrentDB, io.kurrent:kurrentdb-client, sees of a server. The first argument
// is its URL, the second which part to play. Asks for a restart by a line on standard output, and waits
// for one on standard input.

import io.grpc.StatusRuntimeException;
import io.kurrent.dbclient.AppendStreamRequest;
import io.kurrent.dbclient.AppendToStreamOptions;
import io.kurrent.dbclient.DeleteStreamOptions;
import io.kurrent.dbclient.EventData;
import io.kurrent.dbclient.KurrentDBClient;
import io.kurrent.dbclient.KurrentDBConnectionString;
import io.kurrent.dbclient.ReadStreamOptions;
import io.kurrent.dbclient.ResolvedEvent;
import io.kurrent.dbclient.StreamDeletedException;
import io.kurrent.dbclient.StreamMetadata;
import io.kurrent.dbclient.StreamNotFoundException;
import io.kurrent.dbclient.StreamState;
import io.kurrent.dbclient.SubscribeToStreamOptions;
import io.kurrent.dbclient.Subscription;
import io.kurrent.dbclient.SubscriptionListener;
import io.kurrent.dbclient.WrongExpectedVersionException;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
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

    static void subscribes(String url) throws Exception {
        String stream = name("subscribe");
        get(append(stream, StreamState.noStream(), events(3)));
        List<Long> seen = new ArrayList<>();
        take(client, stream, SubscribeToStreamOptions.get().fromStart(), seen, 3);
        System.out.println("restart");
        String line = new BufferedReader(new InputStreamReader(System.in)).readLine();
        check(line.equals("restarted"), line);
        client = KurrentDBClient.create(KurrentDBConnectionString.parseOrThrow(url));
        get(append(stream, StreamState.streamRevision(2), events(2)));
        take(client, stream, SubscribeToStreamOptions.get().fromRevision(seen.get(2)), seen, 5);
        check(seen.equals(List.of(0L, 1L, 2L, 3L, 4L)), seen);
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
        } else {
            get(append(name("secure"), StreamState.noStream(), events(2)));
        }
        System.out.println("done");
        System.exit(0);
    }
}
