"""Start the segmentation node, and RViz if wanted.

ros2 launch seg_perception segmentation.launch.py image:=/front/image_raw
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("seg_perception")
CONFIG = PathJoinSubstitution([SHARE, "config", "segmentation.yaml"])
RVIZ = PathJoinSubstitution([SHARE, "config", "segmentation.rviz"])

ARGUMENTS = (
    DeclareLaunchArgument("image", default_value="image", description="Topic of the camera image."),
    DeclareLaunchArgument(
        "image_compressed",
        default_value=[LaunchConfiguration("image"), "/compressed"],
        description="Topic of the camera image as JPEG or PNG.",
    ),
    DeclareLaunchArgument(
        "camera_info",
        default_value="camera_info",
        description="Topic of the camera's calibration (CameraInfo), to project what is in metres.",
    ),
    DeclareLaunchArgument(
        "odometry",
        default_value="odometry",
        description="Topic of the vehicle's motion (Odometry), to move evidence to the frame.",
    ),
    DeclareLaunchArgument(
        "transforms",
        default_value="transforms",
        description="Topic of single transforms (TransformStamped), beside /tf and /tf_static.",
    ),
    DeclareLaunchArgument(
        "evidence_labels",
        default_value="evidence/labels",
        description="Topic of class ids that are known (mono8, 255 = unknown).",
    ),
    DeclareLaunchArgument(
        "evidence_lane_mask",
        default_value="evidence/lane_mask",
        description="Topic of lane masks (mono8, 1 = on a lane, 0 and 255 = unknown).",
    ),
    DeclareLaunchArgument(
        "evidence_lane_left",
        default_value="evidence/lane_left",
        description="Topic of the ego lane's left border (Path).",
    ),
    DeclareLaunchArgument(
        "evidence_lane_right",
        default_value="evidence/lane_right",
        description="Topic of the ego lane's right border (Path).",
    ),
    DeclareLaunchArgument(
        "evidence_depth",
        default_value="evidence/depth",
        description="Topic of depth images registered to the camera's (32FC1 m or 16UC1 mm).",
    ),
    DeclareLaunchArgument(
        "evidence_points",
        default_value="evidence/points",
        description="Topic of lidar points (PointCloud2).",
    ),
    DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node."),
    DeclareLaunchArgument(
        "params_file", default_value=CONFIG, description="YAML file with the node's parameters."
    ),
    DeclareLaunchArgument(
        "bundle", default_value="", description="Model bundle; empty = that of params_file."
    ),
    DeclareLaunchArgument(
        "autostart",
        default_value="true",
        description="Configure and activate at start; false = wait for a lifecycle manager.",
        choices=["true", "false"],
    ),
    DeclareLaunchArgument(
        "use_sim_time",
        default_value="false",
        description="Take the time from /clock.",
        choices=["true", "false"],
    ),
    DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn, ..."),
    DeclareLaunchArgument(
        "rviz",
        default_value="false",
        description="Show overlay and mask.",
        choices=["true", "false"],
    ),
)


def start_node(context: LaunchContext) -> list[Node]:
    parameters = [
        LaunchConfiguration("params_file"),
        {
            "autostart": ParameterValue(LaunchConfiguration("autostart"), value_type=bool),
            "use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool),
        },
    ]
    # An empty argument must not overrule the file.
    if LaunchConfiguration("bundle").perform(context):
        parameters.append({"bundle": ParameterValue(LaunchConfiguration("bundle"), value_type=str)})
    return [
        Node(
            package="seg_perception",
            executable="segmentation_node",
            name="segmentation",
            namespace=LaunchConfiguration("namespace"),
            parameters=parameters,
            remappings=[
                ("image", LaunchConfiguration("image")),
                ("image/compressed", LaunchConfiguration("image_compressed")),
                ("camera_info", LaunchConfiguration("camera_info")),
                ("odometry", LaunchConfiguration("odometry")),
                ("transforms", LaunchConfiguration("transforms")),
                ("evidence/labels", LaunchConfiguration("evidence_labels")),
                ("evidence/lane_mask", LaunchConfiguration("evidence_lane_mask")),
                ("evidence/lane_left", LaunchConfiguration("evidence_lane_left")),
                ("evidence/lane_right", LaunchConfiguration("evidence_lane_right")),
                ("evidence/depth", LaunchConfiguration("evidence_depth")),
                ("evidence/points", LaunchConfiguration("evidence_points")),
            ],
            ros_arguments=["--log-level", LaunchConfiguration("log_level")],
            output="screen",
        )
    ]


def generate_launch_description() -> LaunchDescription:
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        namespace=LaunchConfiguration("namespace"),
        arguments=["-d", RVIZ],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start_node), rviz])
