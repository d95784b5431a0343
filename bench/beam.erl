%% The BEAM's side of `python -m bench messaging`: a gen_server as OTP's documentation writes one.
%% Reads "ROW COUNT" lines from stdin and answers each with one line of JSON; halts when stdin ends.
-module(beam).
-behaviour(gen_server).

-export([main/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-define(BURST, 1000).

%% -- the gen_server -------------------------------------------------------------------------------

init(State) ->
    {ok, State}.

handle_call({echo, X}, _From, State) ->
    {reply, X, State};
handle_call(total, _From, State) ->
    {reply, State, State};
handle_call({meet, Opponent, Referee}, _From, _State) ->
    {reply, ok, {Opponent, Referee}}.

handle_cast({put, X}, State) ->
    {noreply, State + X};
handle_cast({bounce, 0}, {_Opponent, Referee} = State) ->
    Referee ! finished,
    {noreply, State};
handle_cast({bounce, Left}, {Opponent, _Referee} = State) ->
    gen_server:cast(Opponent, {bounce, Left - 1}),
    {noreply, State}.

handle_info(_Message, State) ->
    {noreply, State}.

start() ->
    {ok, Pid} = gen_server:start(?MODULE, 0, []),
    Pid.

%% -- the rows: each returns microseconds per operation, or bytes ------------------------------------

measure("cast_sync", N) -> cast(N);
measure("cast_async", N) -> cast(N);
measure("call_sync", N) -> call(N);
measure("call_async", N) -> call(N);
measure("spawn", N) -> spawn_many(N);
measure("ping_pong", N) -> ping_pong(N);
measure("idle", N) -> idle(N).

cast(N) ->
    Pid = start(),
    cast_bursts(Pid, N div 10),
    Before = gen_server:call(Pid, total),
    Time = time_of(fun() -> cast_bursts(Pid, N) end),
    N = gen_server:call(Pid, total) - Before,
    gen_server:stop(Pid),
    Time / N.

cast_bursts(_Pid, 0) ->
    ok;
cast_bursts(Pid, N) ->
    Burst = min(N, ?BURST),
    cast_burst(Pid, Burst),
    gen_server:call(Pid, total),
    cast_bursts(Pid, N - Burst).

cast_burst(_Pid, 0) ->
    ok;
cast_burst(Pid, N) ->
    gen_server:cast(Pid, {put, 1}),
    cast_burst(Pid, N - 1).

call(N) ->
    Pid = start(),
    call_loop(Pid, N div 10),
    Time = time_of(fun() -> call_loop(Pid, N) end),
    gen_server:stop(Pid),
    Time / N.

call_loop(_Pid, 0) ->
    ok;
call_loop(Pid, N) ->
    N = gen_server:call(Pid, {echo, N}),
    call_loop(Pid, N - 1).

%% gen_server:start returns when init has; so the last one returned is the last one ready.
spawn_many(N) ->
    lists:foreach(fun gen_server:stop/1, start_loop(N div 10, [])),
    {Time, Pids} = timed(fun() -> start_loop(N, []) end),
    lists:foreach(fun gen_server:stop/1, Pids),
    Time / N.

start_loop(0, Pids) ->
    Pids;
start_loop(N, Pids) ->
    start_loop(N - 1, [start() | Pids]).

ping_pong(N) ->
    Ping = start(),
    Pong = start(),
    ok = gen_server:call(Ping, {meet, Pong, self()}),
    ok = gen_server:call(Pong, {meet, Ping, self()}),
    play(Ping, N div 10),
    Time = time_of(fun() -> play(Ping, N) end),
    gen_server:stop(Ping),
    gen_server:stop(Pong),
    Time / N.

play(Ping, N) ->
    gen_server:cast(Ping, {bounce, N - 1}),
    receive finished -> ok end.

idle(N) ->
    start_loop(100, []),
    erlang:garbage_collect(),
    Before = erlang:memory(total),
    Pids = start_loop(N, []),
    After = erlang:memory(total),
    N = length([Pid || Pid <- Pids, is_process_alive(Pid)]),
    (After - Before) / N.

%% -- clock and protocol ---------------------------------------------------------------------------

time_of(Fun) ->
    {Time, _} = timed(Fun),
    Time.

timed(Fun) ->
    Start = erlang:monotonic_time(nanosecond),
    Result = Fun(),
    {(erlang:monotonic_time(nanosecond) - Start) / 1000, Result}.

main() ->
    io:format("{\"otp\": \"~s\", \"erts\": \"~s\", \"schedulers\": ~p, \"flavor\": \"~p\"}~n",
              [erlang:system_info(otp_release), erlang:system_info(version),
               erlang:system_info(schedulers_online), erlang:system_info(emu_flavor)]),
    serve().

serve() ->
    case io:get_line("") of
        Line when is_list(Line) ->
            [Row, Count] = string:lexemes(Line, " \n"),
            io:format("{\"value\": ~.4f}~n", [in_own_process(Row, list_to_integer(Count))]),
            serve();
        _ ->
            halt()
    end.

%% A fresh process, and so a fresh heap, for every measurement.
in_own_process(Row, N) ->
    {_, Ref} = spawn_monitor(fun() -> exit({measured, measure(Row, N)}) end),
    receive
        {'DOWN', Ref, process, _, {measured, Value}} -> Value;
        {'DOWN', Ref, process, _, Reason} -> io:format(standard_error, "~p~n", [Reason]), halt(1)
    end.
