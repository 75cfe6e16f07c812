import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

/**
 * A store that changes hands: Moves NAMESRV BROKER LEDGERS [check] [fill NAME COUNT [killed]]
 *
 * `check` compares what the broker has with every ledger of the directory LEDGERS; `fill` writes into it and a new ledger NAME.
 * With `killed` it prints `filled` and sends on until the broker is gone. LEDGERS/ends.txt says how each broker before ended: lines of
 * `killed|stopped MILLIS ALLOWED TIMERS`, where ALLOWED is how many milliseconds of committed offsets and deliveries a kill may have taken, so
 * that they count for nothing or come again, and TIMERS the same for timed messages, pops and keys.
 * Exit code 0: everything is as expected; 1: FAIL lines name the differences.
 */
public final class Moves {
    private Moves() {
    }

    public static void main(String[] args) {
        int code = 1;
        try {
            code = run(List.of(args));
        } catch (Throwable e) {
            System.out.println("FAIL " + e);
            e.printStackTrace(System.out);
        }
        System.out.flush();
        System.exit(code);
    }

    private static int run(List<String> words) throws Exception {
        Path folder = Path.of(words.get(2));
        try (Side side = new Side(words.get(0), words.get(1))) {
            int at = 3;
            if (at < words.size() && words.get(at).equals("check")) {
                at++;
                Verify verify = new Verify(side, folder);
                verify.run();
                if (verify.failures() > 0) {
                    return 1;
                }
            }
            if (at < words.size() && words.get(at).equals("fill")) {
                String name = words.get(at + 1);
                try (Ledger ledger = new Ledger(folder.resolve(name + ".jsonl"))) {
                    Fill fill = new Fill(side, ledger, name, Integer.parseInt(words.get(at + 2)));
                    long begin = System.currentTimeMillis();
                    fill.run();
                    System.out.println("filled " + name + " in " + (System.currentTimeMillis() - begin) + " ms");
                    System.out.flush();
                    if (words.contains("killed")) {
                        fill.untilKilled();
                        return 0;
                    }
                }
            }
        }
        return 0;
    }

    static List<Path> ledgers(Path folder) throws Exception {
        try (Stream<Path> files = Files.list(folder)) {
            return new ArrayList<>(files.filter(file -> file.toString().endsWith(".jsonl")).sorted().toList());
        }
    }
}
